-- Progress of a student in a course: how many module requirements are met.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_course_id,
    t.canvas_user_id,
    t.requirement_count,
    t.requirement_completed_count,
    t.completion_date,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'course_progresses') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_course_id
where t.missing_since is null
