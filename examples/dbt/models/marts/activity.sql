select
    courses.canvas_term_id,
    submissions.canvas_course_id,
    date_trunc('week', submissions.submitted_at)::date as week,
    count(*) as submissions,
    count(distinct submissions.canvas_user_id) as students
from {{ ref('stg_canvas__submissions') }} as submissions
inner join {{ ref('stg_canvas__courses') }} as courses on courses.canvas_id = submissions.canvas_course_id
where submissions.submitted_at is not null and {{ in_term('courses.canvas_term_id') }}
group by 1, 2, 3
