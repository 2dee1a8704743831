-- Memberships of users in groups. The stock report has no id of a membership, so the pair is the key.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.canvas_group_id,
    t.group_sis_id,
    t.canvas_user_id,
    t.user_sis_id,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'group_memberships') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
