select
    courses.canvas_term_id,
    enrollments.canvas_course_id,
    least(floor(scores.current_score / 10) * 10, 100)::integer as score_from,
    count(*) as students
from {{ ref('stg_canvas__scores') }} as scores
inner join {{ ref('stg_canvas__enrollments') }} as enrollments on enrollments.canvas_id = scores.canvas_enrollment_id
inner join {{ ref('stg_canvas__courses') }} as courses on courses.canvas_id = enrollments.canvas_course_id
where
    scores.course_score
    and scores.current_score is not null
    and enrollments.workflow_state in ('active', 'completed')
    and {{ in_term('courses.canvas_term_id') }}
group by 1, 2, 3
