-- Accounts, including the root account, which reports omit.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_id,
    t.sis_id,
    t.canvas_parent_account_id,
    t.sis_parent_account_id,
    t.name,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'accounts') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
