-- One row per unit that is linked to another: its component. Units without a link are not listed.
{{ config(materialized='connected_components') }}

select
    units_a.unit_key as node_a,
    units_b.unit_key as node_b
from {{ ref('int_identifiers__linked') }} as links
inner join {{ ref('int_identifiers__grouped_by_user') }} as units_a on links.node_a = units_a.identifier_key
inner join {{ ref('int_identifiers__grouped_by_user') }} as units_b on links.node_b = units_b.identifier_key
where units_a.unit_key <> units_b.unit_key
