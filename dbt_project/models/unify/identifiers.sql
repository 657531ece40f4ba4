-- One row per identifier ever seen.
-- depends_on: {{ ref('profile_changes') }} compares this table, as it was, with what is new.
with owning_profiles as (
    select distinct profile_id
    from {{ ref('int_anchors__resolved') }}
)

select
    identifiers.identifier_key,
    identifiers.identifier_type,
    identifiers.identifier_value,
    owning_profiles.profile_id,
    identifiers.first_seen_at,
    not identifiers.is_linking as is_blocked,
    identifiers.user_count
from {{ ref('int_identifiers__judged') }} as identifiers
left join {{ ref('int_identifiers__resolved') }} as resolved
    on identifiers.identifier_key = resolved.identifier_key
-- An identifier over its limit names a profile only when events are left that carry nothing better.
left join owning_profiles on resolved.profile_id = owning_profiles.profile_id
