-- People with a login: one row per person, however many logins. SIS ids are on pseudonyms.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.email,
    t.first_name,
    t.last_name,
    t.workflow_state,
    t.login_id,
    t.name,
    t.sortable_name,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'users') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
