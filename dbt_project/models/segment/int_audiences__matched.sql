-- One row per audience and profile that its definition matches now. All audiences in one scan.
{{ config(materialized='ephemeral') }}
with matched as (
{{ matching_audiences_sql(
    compiled_audiences(ref('int_audiences__compiled')),
    ref('profiles'),
    ref('events'),
    '(select as_of from ' ~ ref('refresh_window') ~ ')',
) }}
)

select
    audience_id,
    profile_id
from matched
cross join unnest(audience_ids) as audience_id
