-- Groups of assignments and their weight in the course grade.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_course_id,
    t.name,
    t.rules,
    t.position,
    t.group_weight,
    t.workflow_state,
    t.canvas_created_at,
    t.canvas_updated_at,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'assignment_groups') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_course_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
