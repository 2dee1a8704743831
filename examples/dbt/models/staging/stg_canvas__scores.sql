-- Grades of an enrollment: for the course, for a grading period, or for an assignment group.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_enrollment_id,
    t.canvas_grading_period_id,
    t.canvas_assignment_group_id,
    t.course_score,
    t.current_score,
    t.final_score,
    t.unposted_current_score,
    t.unposted_final_score,
    t.override_score,
    t.workflow_state,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'scores') }} as t
left join {{ source('canvas', 'enrollments') }} as enrollments on enrollments.canvas_id = t.canvas_enrollment_id
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = enrollments.canvas_course_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
