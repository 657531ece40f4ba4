-- One row per identifier that still links and is near its limit. A finding: it should be empty.
{%- set share = var('near_limit_percent') %}

select
    judged.identifier_key,
    judged.identifier_type,
    judged.identifier_value,
    judged.user_count,
    types.max_user_ids
from {{ ref('int_identifiers__judged') }} as judged
inner join {{ ref('identifier_types') }} as types on judged.identifier_type = types.identifier_type
where
    judged.is_linking
    -- Where one user is the limit, everybody is at it.
    and types.max_user_ids > 1
    and judged.user_count > 1
    and judged.user_count * 100 >= types.max_user_ids * {{ share }}
