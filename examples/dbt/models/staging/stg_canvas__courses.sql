-- Courses, synced term by term.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.sis_id,
    t.course_code,
    t.name,
    t.workflow_state,
    t.canvas_account_id,
    t.canvas_term_id,
    t.start_at,
    t.end_at,
    t.grading_standard_id,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'courses') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
