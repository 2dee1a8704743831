-- Assignments of courses.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.title,
    t.description,
    t.due_at,
    t.unlock_at,
    t.lock_at,
    t.points_possible,
    t.min_score,
    t.max_score,
    t.mastery_score,
    t.grading_type,
    t.submission_types,
    t.workflow_state,
    t.canvas_context_id,
    t.canvas_context_type,
    t.canvas_assignment_group_id,
    t.canvas_grading_scheme_id,
    t.canvas_grading_standard_id,
    t.updated_at,
    t.observed_at,
    courses.canvas_term_id as canvas_term_id
from {{ source('canvas', 'assignments') }} as t
left join {{ source('canvas', 'courses') }} as courses on courses.canvas_id = t.canvas_context_id
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
