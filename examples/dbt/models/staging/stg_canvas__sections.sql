-- Sections of courses, with their cross-listing.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.sis_id,
    t.canvas_course_id,
    t.canvas_nonxlist_course_id,
    t.name,
    t.workflow_state,
    t.start_at,
    t.end_at,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'sections') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_course_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
