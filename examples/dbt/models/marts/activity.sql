select
    canvas_term_id,
    canvas_course_id,
    date_trunc('week', submitted_at)::date as week,
    count(*) as submissions,
    count(distinct canvas_user_id) as students
from {{ ref('stg_canvas__submissions') }}
where submitted_at is not null and {{ in_term('canvas_term_id') }}
group by 1, 2, 3
