-- One row per audience that somebody defines now: in seeds/audiences.csv, or else over HTTP.
with seeded as (
    select
        audience_key,
        name,
        description,
        definition,
        owner,
        is_enabled,
        'seeds/audiences.csv' as source
    from {{ ref('audiences') }}
),

sent as (
    select
        audience_key,
        name,
        description,
        definition,
        owner,
        is_enabled,
        'POST /audiences' as source,
        row_number() over (partition by audience_key order by definition_id desc) as recency
    from {{ source('raw', 'audience_definitions') }}
),

-- What is in git wins, so that a call cannot change what was reviewed.
definitions as (
    select
        audience_key,
        name,
        description,
        definition,
        owner,
        is_enabled,
        source
    from seeded
    union all
    select
        audience_key,
        name,
        description,
        definition,
        owner,
        is_enabled,
        source
    from sent
    where recency = 1 and sent.audience_key not in (select seeded.audience_key from seeded)
)

select
    {{ audience_id('audience_key') }} as audience_id,
    audience_key,
    name,
    description,
    definition,
    owner,
    is_enabled,
    source
from definitions
