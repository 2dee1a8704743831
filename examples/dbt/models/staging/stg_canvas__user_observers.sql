-- Pairs of observer and observed student. Canvas has no id for a pair, so the pair is the key.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.observing_user_id,
    t.observed_user_id,
    t.workflow_state,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'user_observers') }} as t
where t.missing_since is null
    and t.workflow_state is distinct from 'deleted'
