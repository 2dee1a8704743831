-- Unchanged rows are never written, so that updated_at tells what is new for whoever comes after us.
select canvas_id, name, workflow_state, updated_at
from {{ source('canvas', 'courses') }}
where updated_at >= now() - interval '1 day'
