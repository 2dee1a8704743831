-- Enrollment terms of the root account.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.name,
    t.start_at,
    t.end_at,
    t.workflow_state,
    t.grading_period_group_id,
    t.sis_id,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'terms') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
