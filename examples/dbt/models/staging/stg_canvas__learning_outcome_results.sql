-- Results of students on learning outcomes, read course by course.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_course_id,
    t.canvas_user_id,
    t.canvas_learning_outcome_id,
    t.alignment,
    t.score,
    t.percent,
    t.mastery,
    t.submitted_or_assessed_at,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'learning_outcome_results') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_course_id
where t.missing_since is null
