-- Copies and imports of content into courses and accounts.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_context_id,
    t.canvas_context_type,
    t.workflow_state,
    t.migration_settings,
    t.started_at,
    t.finished_at,
    t.progress,
    t.canvas_source_course_id,
    t.migration_type,
    t.canvas_child_subscription_id,
    t.canvas_root_account_id,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'content_migrations') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
