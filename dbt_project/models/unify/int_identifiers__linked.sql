-- One row per pair of identifiers that an event carried together, or that an alias call joined.
-- All pairs of an event are kept, so that taking one identifier out loses no other link.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new', 'statistics_target': 10},
    incremental_strategy='append',
    indexes=[
        {'columns': ['node_a', 'node_b', 'kind'], 'unique': true},
        {'columns': ['node_b']},
        {'columns': ['landing'], 'where': "landing >= {{ landing_position(run_window().to_xid, 0) }}"},
    ],
) }}
{#- Named in each branch: what is read more than once under a name, PostgreSQL copies first. #}
{%- set tuples = ref('int_identifiers__carried_together') %}

with pairs as (
    {%- set types = carried_identifiers() | map(attribute='type') | list %}
    {%- for type_a in types %}
    {%- for type_b in types[loop.index:] %}
    select
        {{ type_a }}_key as key_a,
        {{ type_b }}_key as key_b,
        {{ "user_id_key" if type_a == "user_id" else "cast(null as " ~ dbt.type_bigint() ~ ")" }}
            as user_key,
        'carried' as kind,
        landing
    from {{ tuples }}
    where {{ type_a }}_key is not null and {{ type_b }}_key is not null
    union all
    {%- endfor %}
    {%- endfor %}
    {%- for identifier in aliased_identifiers() %}
    select
        user_id_key as key_a,
        aliased_{{ identifier.type }}_key as key_b,
        cast(null as {{ dbt.type_bigint() }}) as user_key,
        'alias' as kind,
        landing
    from {{ tuples }}
    where
        user_id_key is not null and aliased_{{ identifier.type }}_key is not null
        and user_id_key <> aliased_{{ identifier.type }}_key
    {{ "union all" if not loop.last }}
    {%- endfor %}
),

links as (
    select
        least(key_a, key_b) as node_a,
        greatest(key_a, key_b) as node_b,
        -- The side that is a user_id and counts towards the other's limit; null when neither does.
        min(user_key) as user_key,
        kind,
        min(landing) as landing
    from pairs
    group by least(key_a, key_b), greatest(key_a, key_b), kind
)

select *
from links
{%- if is_incremental() %}
where
    not exists (
        select 1
        from {{ this }} as known
        where
            known.node_a = links.node_a
            and known.node_b = links.node_b
            and known.kind = links.kind
    )
{%- endif %}
