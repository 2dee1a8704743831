-- Uses of rubrics: for an assignment, a course or an account.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_rubric_id,
    t.canvas_association_id,
    t.canvas_association_type,
    t.use_for_grading,
    t.title,
    t.description,
    t.summary_data,
    t.purpose,
    t.url,
    t.canvas_context_id,
    t.canvas_context_type,
    t.hide_score_total,
    t.bookmarked,
    t.context_code,
    t.hide_points,
    t.hide_outcome_results,
    t.canvas_root_account_id,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'rubric_associations') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
