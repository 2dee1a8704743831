-- Rubrics of accounts and courses.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_user_id,
    t.canvas_rubric_id,
    t.canvas_context_id,
    t.canvas_context_type,
    t.data,
    t.points_possible,
    t.title,
    t.description,
    t.reusable,
    t.public,
    t.read_only,
    t.association_count,
    t.free_form_criterion_comments,
    t.context_code,
    t.migration_id,
    t.hide_score_total,
    t.workflow_state,
    t.canvas_root_account_id,
    t.hide_points,
    t.rating_order,
    t.button_display,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'rubrics') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
