-- One row per identifier that may link and that this run looks at: the group it starts from, which
-- is the component that stands. Empty in a full run, whose groups starting_groups() tells apart.
{{ config(indexes=[{'columns': ['identifier_key'], 'unique': true}]) }}
{%- set judged = ref('int_identifiers__judged') %}
{%- set links = links_to_follow() %}
{%- set loose_identifiers = ref('int_identifiers__loose') %}
{%- set resolved = as_left_by_earlier_runs('int_identifiers__resolved') %}

{% if resolves_all() %}
select
    identifier_key,
    identifier_key as group_key
from {{ judged }}
where false
{%- else %}
with links as ({{ links }}),

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
left join {{ loose_identifiers }} as loose
    on looked_at.identifier_key = loose.identifier_key
left join {{ resolved }} as resolved on looked_at.identifier_key = resolved.identifier_key
-- Asked one by one: the planner expects many more, and joining would go through the whole table.
where
    (
        select judged.is_linking
        from {{ judged }} as judged
        where judged.identifier_key = looked_at.identifier_key
    )
{%- endif %}
