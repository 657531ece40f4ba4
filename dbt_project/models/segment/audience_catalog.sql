-- One row per audience ever defined.
-- The table is segment.audiences; dbt knows it by another name, because the seed has that one.
{{ config(alias='audiences') }}
with builds as (
    select
        *,
        row_number() over (partition by audience_id order by built_at desc) as recency
    from {{ ref('audience_builds') }}
)

select
    versioned.audience_id,
    versioned.audience_key,
    versioned.name,
    versioned.description,
    versioned.definition,
    versioned.definition_version,
    versioned.owner,
    versioned.source,
    versioned.is_enabled,
    versioned.created_at,
    builds.built_at as last_built_at,
    builds.definition_version as built_version,
    coalesce(builds.member_count, 0) as member_count
from {{ ref('int_audiences__versioned') }} as versioned
left join builds on versioned.audience_id = builds.audience_id and builds.recency = 1
