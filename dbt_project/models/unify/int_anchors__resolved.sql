-- One row per anchor: the profile that owns it, through the best identifier it has.
-- One that links beats one over its limit; then the type's priority decides. Blocked ones own none.
-- moved_in and previous_profile_id are as in int_identifiers__resolved.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='anchor_id',
    indexes=[
        {'columns': ['anchor_id'], 'unique': true},
        {'columns': ['profile_id']},
        {'columns': ['moved_in'], 'where': "moved_in > {{ run_window().run }}"},
    ],
) }}
{%- set window = run_window() %}
{%- set judged = ref('int_identifiers__judged') %}
{%- set resolved = ref('int_identifiers__resolved') %}
{%- set touched = ref('int_anchors__touched') %}
{%- set earlier = as_left_by_earlier_runs('int_anchors__resolved') %}

with anchors as (
    select seen.*
    from {{ ref('int_anchors__seen') }} as seen
    {%- if is_incremental() %}
    where
        seen.anchor_id in (
            select anchor_id
            from {{ touched }}
            {%- for identifier in carried_identifiers() %}
            union distinct
            select carrying.anchor_id
            from {{ ref('int_anchors__seen') }} as carrying
            inner join {{ judged }} as judged
                on carrying.{{ identifier.type }}_key = judged.identifier_key
            where judged.judged_in > {{ window.published_run }}
            union distinct
            select carrying.anchor_id
            from {{ ref('int_anchors__seen') }} as carrying
            inner join {{ resolved }} as resolved
                on carrying.{{ identifier.type }}_key = resolved.identifier_key
            where resolved.moved_in > {{ window.published_run }}
            {%- endfor %}
        )
    {%- endif %}
),

carried as (
    {%- for identifier in carried_identifiers() %}
    select
        anchor_id,
        {{ identifier.type }}_key as identifier_key
    from anchors
    where {{ identifier.type }}_key is not null
    {{ "union all" if not loop.last }}
    {%- endfor %}
),

ranked as (
    select
        carried.anchor_id,
        identifiers.identifier_key,
        row_number() over (
            partition by carried.anchor_id
            order by identifiers.is_over_limit, identifiers.priority
        ) as choice
    from carried
    inner join {{ judged }} as identifiers on carried.identifier_key = identifiers.identifier_key
    where not identifiers.is_blocked
),

owned as (
    select
        anchors.anchor_id,
        ranked.identifier_key,
        resolved.profile_id
    from anchors
    left join ranked on anchors.anchor_id = ranked.anchor_id and ranked.choice = 1
    left join {{ resolved }} as resolved on ranked.identifier_key = resolved.identifier_key
)

select
    owned.anchor_id,
    owned.identifier_key,
    owned.profile_id,
    {%- if earlier %}
    case
        when earlier.moved_in > {{ window.published_run }} then earlier.previous_profile_id
        else earlier.profile_id
    end as previous_profile_id,
    {%- else %}
    cast(null as {{ type_uuid() }}) as previous_profile_id,
    {%- endif %}
    {{ window.run }} as moved_in
from owned
{%- if earlier %}
left join {{ earlier }} as earlier on owned.anchor_id = earlier.anchor_id
{%- endif %}
{%- if is_incremental() %}
where earlier.anchor_id is null or owned.profile_id is distinct from earlier.profile_id
{%- endif %}
