-- No audience of some size has emptied, or grown or shrunk by a large share, while its definition stayed.
{{ config(severity='warn') }}
with builds as (
    select
        audience_id,
        definition_version,
        is_enabled,
        member_count,
        built_at,
        lag(member_count) over (partition by audience_id order by built_at) as previous_count,
        lag(definition_version) over (
            partition by audience_id order by built_at
        ) as previous_version,
        row_number() over (partition by audience_id order by built_at desc) as recency
    from {{ ref('audience_builds') }}
)

select
    audiences.audience_key,
    builds.previous_count,
    builds.member_count
from builds
inner join {{ ref('audience_catalog') }} as audiences on builds.audience_id = audiences.audience_id
where
    builds.recency = 1
    and builds.is_enabled
    and builds.definition_version = builds.previous_version
    and builds.previous_count >= {{ var('audience_jump_members') }}
    and (
        builds.member_count = 0
        or abs(builds.member_count - builds.previous_count) * 100
        > builds.previous_count * {{ var('audience_jump_percent') }}
    )
