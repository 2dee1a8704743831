"""Read settings from the environment, `.env` and `canvas_sync.yaml`; `canvas_sync_dagster.settings` combines them.

`environment` reads variables, `files` YAML files, `interpolation` replaces `${NAME}`, `shared_settings` and
`tenant_reading` validate, and `setting_errors` names the setting that is wrong. docs/understand/decisions/0010 gives the reasons for
not using pydantic-settings.
"""
