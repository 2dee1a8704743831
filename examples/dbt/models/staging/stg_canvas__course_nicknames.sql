-- Nicknames that the token's user gave to courses. Canvas returns no other user's.
-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.
select
    t.canvas_user_id,
    t.canvas_course_id,
    t.name,
    t.nickname,
    t.updated_at,
    t.observed_at
from {{ source('canvas', 'course_nicknames') }} as t
where t.missing_since is null
