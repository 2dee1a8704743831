-- Administrators of accounts. An administrator whom Canvas no longer lists is inactive.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.role_name,
    t.canvas_account_id,
    t.canvas_role_id,
    t.canvas_user_id,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'admins') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'inactive'
