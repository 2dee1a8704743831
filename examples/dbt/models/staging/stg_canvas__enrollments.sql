-- Memberships of users in sections of courses, with their role.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_course_id,
    t.course_sis_id,
    t.canvas_user_id,
    t.user_sis_id,
    t.role,
    t.canvas_role_id,
    t.canvas_section_id,
    t.workflow_state,
    t.base_role_type,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'enrollments') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_course_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
