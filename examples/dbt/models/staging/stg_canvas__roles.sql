-- Roles of accounts. A role that Canvas no longer lists is inactive.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.label,
    t.base_role_type,
    t.canvas_account_id,
    t.workflow_state,
    t.permissions,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'roles') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'inactive'
