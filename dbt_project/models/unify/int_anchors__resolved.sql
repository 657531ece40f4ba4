-- One row per anchor that belongs to a profile: its owner is the best identifier it has.
-- One that links beats one over its limit; among those, the type's priority decides.
{{ config(indexes=[
    {'columns': ['anchor_id'], 'unique': true},
    {'columns': ['profile_id']},
]) }}

with carried as (
    {%- for identifier in carried_identifiers() %}
    select
        anchor_id,
        {{ identifier.type }}_key as identifier_key
    from {{ ref('int_anchors__seen') }}
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
    inner join {{ ref('int_identifiers__judged') }} as identifiers
        on carried.identifier_key = identifiers.identifier_key
    where not identifiers.is_blocked
)

select
    ranked.anchor_id,
    ranked.identifier_key,
    resolved.profile_id
from ranked
inner join {{ ref('int_identifiers__resolved') }} as resolved
    on ranked.identifier_key = resolved.identifier_key
where ranked.choice = 1
