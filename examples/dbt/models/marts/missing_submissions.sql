select
    courses.canvas_term_id,
    submissions.canvas_course_id,
    submissions.canvas_assignment_id,
    submissions.canvas_user_id,
    assignments.title as assignment,
    coalesce(submissions.due_at, assignments.due_at) as due_at
from {{ ref('stg_canvas__submissions') }} as submissions
inner join {{ ref('stg_canvas__assignments') }} as assignments
    on assignments.canvas_id = submissions.canvas_assignment_id
inner join {{ ref('stg_canvas__courses') }} as courses on courses.canvas_id = submissions.canvas_course_id
where
    submissions.workflow_state = 'unsubmitted'
    and submissions.excused is not true
    and assignments.workflow_state = 'published'
    and coalesce(submissions.due_at, assignments.due_at) < current_timestamp
    and {{ in_term('courses.canvas_term_id') }}
    and exists (
        select from {{ ref('stg_canvas__enrollments') }} as enrollments
        where
            enrollments.canvas_course_id = submissions.canvas_course_id
            and enrollments.canvas_user_id = submissions.canvas_user_id
            and enrollments.base_role_type = 'StudentEnrollment'
            and enrollments.workflow_state = 'active'
    )
