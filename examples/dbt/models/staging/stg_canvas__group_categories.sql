-- Sets of groups (group categories).
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.sis_id,
    t.context_id,
    t.context_type,
    t.name,
    t.role,
    t.self_signup,
    t.group_limit,
    t.auto_leader,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'group_categories') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
