-- Learning outcomes: all of accounts, and those of courses that live events named.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_context_id,
    t.canvas_context_type,
    t.title,
    t.display_name,
    t.description,
    t.vendor_guid,
    t.points_possible,
    t.mastery_points,
    t.calculation_method,
    t.calculation_int,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'learning_outcomes') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
