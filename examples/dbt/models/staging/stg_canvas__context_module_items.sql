-- Items of modules.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_context_module_id,
    t.position,
    t.canvas_content_id,
    t.canvas_content_type,
    t.canvas_assignment_id,
    t.workflow_state,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'context_module_items') }} as t
left join {{ source('canvas', 'context_modules') }} as context_modules on context_modules.canvas_id = t.canvas_context_module_id
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = context_modules.canvas_context_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
