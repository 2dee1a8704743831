-- Modules of courses.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_context_id,
    t.canvas_context_type,
    t.position,
    t.name,
    t.workflow_state,
    t.deleted_at,
    t.unlock_at,
    t.completion_requirements,
    t.prerequisites,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'context_modules') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_context_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
