-- One row per identifier that may link: the group it starts from.
-- A cheap first step for this data's shape: what was seen with a user_id falls in with the least.
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
        min(links.user_key) as group_key
    from {{ ref('int_identifiers__linked') }} as links
    inner join linking as linking_users on links.user_key = linking_users.identifier_key
    where links.kind = 'carried'
    group by case when links.node_a = links.user_key then links.node_b else links.node_a end
)

select
    linking.identifier_key,
    coalesce(least_users.group_key, linking.identifier_key) as group_key
from linking
left join least_users on linking.identifier_key = least_users.identifier_key
