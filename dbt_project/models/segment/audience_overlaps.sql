-- One row per ordered pair of audiences that share members. A view: ask it for one audience.
{{ config(materialized='view') }}
with overlapping as (
    select
        audiences.audience_id,
        audiences.audience_key,
        audiences.member_count,
        co_members.audience_id as other_audience_id,
        count(*) as shared_count
    from {{ ref('audience_catalog') }} as audiences
    inner join {{ ref('audience_members') }} as members
        on audiences.audience_id = members.audience_id
    inner join {{ ref('audience_members') }} as co_members
        on
            members.profile_id = co_members.profile_id
            and members.audience_id <> co_members.audience_id
    group by
        audiences.audience_id,
        audiences.audience_key,
        audiences.member_count,
        co_members.audience_id
)

select
    overlapping.audience_id,
    overlapping.audience_key,
    overlapping.other_audience_id,
    other.audience_key as other_audience_key,
    overlapping.shared_count,
    round(
        cast(overlapping.shared_count as {{ dbt.type_numeric() }}) / overlapping.member_count, 6
    ) as shared_part
from overlapping
inner join {{ ref('audience_catalog') }} as other
    on overlapping.other_audience_id = other.audience_id
