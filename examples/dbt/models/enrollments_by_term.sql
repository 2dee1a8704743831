-- Rows that reports no longer list are left out until Canvas has been asked about them.
select
    terms.canvas_id as term_id,
    terms.name as term,
    enrollments.base_role_type,
    count(*) as enrollments,
    max(enrollments.observed_at) as fresh_until
from {{ source('canvas', 'enrollments') }} as enrollments
inner join {{ source('canvas', 'courses') }} as courses on enrollments.canvas_course_id = courses.canvas_id
inner join {{ source('canvas', 'terms') }} as terms on courses.canvas_term_id = terms.canvas_id
where enrollments.workflow_state = 'active' and enrollments.missing_since is null
group by 1, 2, 3
