-- One row per profile with more identifiers than a person has. A finding: it should be empty.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['profile_id'],
    meta={'touched': 'int_profiles__touched', 'touched_key': 'profile_id'},
    indexes=[{'columns': ['profile_id'], 'unique': true}],
) }}
{%- set touched = ref('int_profiles__touched') %}

with members as (
    select
        identifier_key,
        identifier_type,
        identifier_value,
        profile_id
    from {{ ref('identifiers') }}
    where
        profile_id is not null
    {%- if is_incremental() %}
        and profile_id in (select touched.profile_id from {{ touched }} as touched)
    {%- endif %}
),

large as (
    select
        profile_id,
        count(*) as identifier_count
    from members
    group by profile_id
    having count(*) > {{ var('large_profile_identifiers') }}
),

link_counts as (
    select
        sides.identifier_key,
        count(*) as link_count
    from (
        {%- for side in ['node_a', 'node_b'] %}
        select members.identifier_key
        from large
        inner join members on large.profile_id = members.profile_id
        inner join {{ ref('int_identifiers__linked') }} as links
            on members.identifier_key = links.{{ side }}
        {{ "union all" if not loop.last }}
        {%- endfor %}
    ) as sides
    group by sides.identifier_key
),

ranked as (
    select
        members.profile_id,
        members.identifier_type,
        members.identifier_value,
        link_counts.link_count,
        row_number() over (
            partition by members.profile_id
            order by link_counts.link_count desc, members.identifier_key asc
        ) as link_rank
    from members
    inner join link_counts on members.identifier_key = link_counts.identifier_key
)

select
    large.profile_id,
    large.identifier_count,
    ranked.identifier_type as widest_identifier_type,
    ranked.identifier_value as widest_identifier_value,
    ranked.link_count as widest_link_count
from large
inner join ranked on large.profile_id = ranked.profile_id and ranked.link_rank = 1
