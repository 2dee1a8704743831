-- Assessments made with a rubric.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_user_id,
    t.canvas_rubric_id,
    t.canvas_rubric_association_id,
    t.score,
    t.data,
    t.canvas_artifact_id,
    t.canvas_artifact_type,
    t.assessment_type,
    t.canvas_assessor_id,
    t.artifact_attempt,
    t.hide_points,
    t.canvas_root_account_id,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'rubric_assessments') }} as t
where t.missing_since is null
