-- One row per identifier that still links and is near its limit. A finding: it should be empty.

select
    judged.identifier_key,
    judged.identifier_type,
    judged.identifier_value,
    judged.user_count,
    limits.max_user_ids
from {{ ref('int_identifiers__judged') }} as judged
inner join {{ ref('identifier_types') }} as limits
    on judged.identifier_type = limits.identifier_type
where
    judged.is_linking
    -- Where one user is the limit, everybody is at it.
    and limits.max_user_ids > 1
    and judged.user_count > 1
    and judged.user_count * 100 >= limits.max_user_ids * {{ var('near_limit_percent') }}
