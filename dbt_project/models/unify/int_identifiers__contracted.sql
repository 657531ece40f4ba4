-- One row per group that is linked to another: its component. Those without a link are not listed.
{{ config(
    materialized='connected_components',
    indexes=[{'columns': ['node'], 'unique': true}],
) }}
{#- Named in each branch: what is read more than once under a name, PostgreSQL copies first. #}

with links as ({{ links_to_follow() }}),

groups_a as ({{ starting_groups() }}),

groups_b as ({{ starting_groups() }})

select
    groups_a.group_key as node_a,
    groups_b.group_key as node_b
from links
inner join groups_a on links.node_a = groups_a.identifier_key
inner join groups_b on links.node_b = groups_b.identifier_key
where groups_a.group_key <> groups_b.group_key
