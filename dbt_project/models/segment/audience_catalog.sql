-- One row per audience ever defined.
-- The table is segment.audiences; dbt knows it by another name, because the seed has that one.
{{ config(alias='audiences') }}
with latest as (
    select
        audiences.audience_id,
        (
            select max(builds.built_at)
            from {{ ref('audience_builds') }} as builds
            where builds.audience_id = audiences.audience_id
        ) as built_at
    from {{ ref('int_audiences__versioned') }} as audiences
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
left join latest on versioned.audience_id = latest.audience_id
left join {{ ref('audience_builds') }} as builds
    on latest.audience_id = builds.audience_id and latest.built_at = builds.built_at
