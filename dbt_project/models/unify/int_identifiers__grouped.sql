-- One row per identifier that may link and that this run looks at: the group it starts from.
-- A full run begins with a cheap step for this data's shape: what was seen with a user_id falls in
-- with the least of them. Later runs begin with the components that stand.
{{ config(indexes=[{'columns': ['identifier_key'], 'unique': true}]) }}
{%- set window = run_window() %}
{%- set loose_identifiers = ref('int_identifiers__loose') %}
{%- set resolved = as_left_by_earlier_runs('int_identifiers__resolved') %}

with links as ({{ links_to_follow() }}),

linking as (
    select
        identifier_key,
        identifier_type
    from {{ ref('int_identifiers__judged') }}
    where is_linking
)

{% if window.from_xid == 0 or not resolved %},
least_users as (
    select
        case when links.node_a = links.user_key then links.node_b else links.node_a end
            as identifier_key,
        min(links.user_key) as group_key
    from links
    inner join linking as linking_users on links.user_key = linking_users.identifier_key
    where links.kind = 'carried'
    group by case when links.node_a = links.user_key then links.node_b else links.node_a end
)

select
    linking.identifier_key,
    coalesce(least_users.group_key, linking.identifier_key) as group_key
from linking
left join least_users on linking.identifier_key = least_users.identifier_key
{%- else %},

looked_at as (
    select identifier_key from {{ loose_identifiers }}
    union distinct
    select node_a from links
    union distinct
    select node_b from links
)

select
    looked_at.identifier_key,
    case when loose.identifier_key is null then resolved.root_key else looked_at.identifier_key end
        as group_key
from looked_at
inner join linking on looked_at.identifier_key = linking.identifier_key
left join {{ loose_identifiers }} as loose
    on looked_at.identifier_key = loose.identifier_key
left join {{ resolved }} as resolved on looked_at.identifier_key = resolved.identifier_key
{%- endif %}
