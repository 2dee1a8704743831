-- Groups of users in accounts and courses.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.sis_id,
    t.canvas_group_category_id,
    t.group_category_sis_id,
    t.canvas_account_id,
    t.canvas_course_id,
    t.name,
    t.workflow_state,
    t.context_id,
    t.context_type,
    t.max_membership,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'groups') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
