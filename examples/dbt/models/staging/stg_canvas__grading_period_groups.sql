-- Sets of grading periods.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.title,
    t.weighted,
    t.display_totals_for_all_grading_periods,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'grading_period_groups') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
