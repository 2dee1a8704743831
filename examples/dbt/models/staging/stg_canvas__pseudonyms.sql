-- Logins; a user can have several.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_user_id,
    t.sis_id,
    t.unique_id,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'pseudonyms') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
