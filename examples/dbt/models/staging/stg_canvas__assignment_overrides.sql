-- Other dates of an assignment for a section, a group or some students.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_assignment_id,
    t.canvas_group_id,
    t.canvas_course_id,
    t.canvas_section_id,
    t.student_ids,
    t.due_at,
    t.all_day,
    t.all_day_date,
    t.unlock_at,
    t.lock_at,
    t.title,
    t.workflow_state,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'assignment_overrides') }} as t
left join {{ source('canvas', 'assignments') }} as assignments on assignments.canvas_id = t.canvas_assignment_id
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = assignments.canvas_context_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
