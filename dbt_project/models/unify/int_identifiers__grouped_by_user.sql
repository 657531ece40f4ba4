-- One row per identifier that may link: the unit it belongs to before components are worked out.
-- A first, cheap step for this data's shape: whoever was seen with a user_id falls in with the least.
{{ config(indexes=[{'columns': ['identifier_key'], 'unique': true}]) }}

with linking as (
    select
        identifier_key,
        identifier_type
    from {{ ref('int_identifiers__judged') }}
    where is_linking
),

least_users as (
    select
        case when links.node_a = links.user_key then links.node_b else links.node_a end
            as identifier_key,
        min(links.user_key) as unit_key
    from {{ ref('int_identifiers__linked') }} as links
    inner join linking as users on links.user_key = users.identifier_key
    where links.kind = 'carried'
    group by case when links.node_a = links.user_key then links.node_b else links.node_a end
)

select
    linking.identifier_key,
    coalesce(least_users.unit_key, linking.identifier_key) as unit_key
from linking
left join least_users on linking.identifier_key = least_users.identifier_key
