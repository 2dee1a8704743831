select
    courses.canvas_term_id,
    enrollments.base_role_type,
    count(*) as enrollments,
    count(distinct enrollments.canvas_user_id) as people
from {{ ref('stg_canvas__enrollments') }} as enrollments
inner join {{ ref('stg_canvas__courses') }} as courses on courses.canvas_id = enrollments.canvas_course_id
where enrollments.workflow_state = 'active' and {{ in_term('courses.canvas_term_id') }}
group by 1, 2
