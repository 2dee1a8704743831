-- Grading periods.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.title,
    t.weight,
    t.start_date,
    t.end_date,
    t.close_date,
    t.canvas_grading_period_group_id,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'grading_periods') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
