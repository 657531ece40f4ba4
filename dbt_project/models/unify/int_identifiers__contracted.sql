-- One row per group that is linked to another: its component. Those without a link are not listed.
{{ config(
    materialized='connected_components',
    indexes=[{'columns': ['node'], 'unique': true}],
) }}

with links as ({{ links_to_follow() }}),

starting_groups as (select * from {{ ref('int_identifiers__grouped') }})

select
    groups_a.group_key as node_a,
    groups_b.group_key as node_b
from links
inner join starting_groups as groups_a on links.node_a = groups_a.identifier_key
inner join starting_groups as groups_b on links.node_b = groups_b.identifier_key
where groups_a.group_key <> groups_b.group_key
