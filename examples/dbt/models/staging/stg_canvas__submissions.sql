-- Submissions of students to assignments, with their score. Canvas has one for each assigned student, submitted or not.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_course_id,
    t.canvas_assignment_id,
    t.canvas_user_id,
    t.submitted_at,
    t.due_at,
    t.graded_at,
    t.score,
    t.points_possible,
    t.excused,
    t.workflow_state,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'submissions') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_course_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
