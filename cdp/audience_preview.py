"""Who an audience would be, before it is one: size, samples and overlaps, without writing."""

from cdp.audience_rules import CompiledAudience, audience_members_sql

# The instant that the profiles' own windows were computed for.
AS_OF = "(select watermark.as_of from decide.watermark)"
SAMPLE_SIZE = 10

# One row. The sample is by id, so that the same people show while a definition is being tuned.
STATEMENT = """
with members as materialized (
{members}
),

counted as (
    select
        (select count(*) from members) as member_count,
        (select count(*) from unify.profiles) as profile_count
),

samples as (
    select
        profiles.profile_id,
        profiles.email,
        profiles.user_id,
        profiles.total_spend,
        profiles.total_orders,
        profiles.last_seen_at
    from (select members.profile_id from members order by members.profile_id limit {size}) as chosen
    inner join unify.profiles on chosen.profile_id = profiles.profile_id
),

shared as (
    select others.audience_id, count(*) as shared_count
    from members
    inner join segment.audience_members as others on members.profile_id = others.profile_id
    group by others.audience_id
),

overlapping as (
    select
        audiences.audience_key,
        audiences.member_count,
        coalesce(shared.shared_count, 0) as shared_count
    from segment.audiences
    left join shared on audiences.audience_id = shared.audience_id
    where audiences.is_enabled
)

select
    {as_of} as as_of,
    counted.member_count,
    counted.profile_count,
    (select coalesce(jsonb_agg(samples order by samples.profile_id), '[]') from samples) as sample,
    (
        select coalesce(
            jsonb_agg(
                overlapping order by overlapping.shared_count desc, overlapping.audience_key
            ),
            '[]'
        )
        from overlapping
    ) as overlaps
from counted
"""


def preview_sql(audience: CompiledAudience) -> str:
    """One row: as_of, member_count, profile_count, sample and overlaps (both JSON)."""
    return STATEMENT.format(
        members=audience_members_sql(audience, AS_OF), as_of=AS_OF, size=SAMPLE_SIZE
    )
