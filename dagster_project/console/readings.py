"""What pages show beyond the HTTP API, read in the role `cdp_serving`, page by page by key.

Each statement reads a bounded number of rows by an index, whatever the tables hold.
"""

from typing import Any
from uuid import UUID

from dagster_project.console.pages import NOT_BUILT
from dagster_project.serving.database import Database, Row
from dagster_project.serving.errors import RequestError

PAGE_ROWS = 50
MOST_COUNTED = 10_000
NEWEST_FIRST = "infinity"
LAST_ID = UUID(int=2**128 - 1)

RECENT_PROFILES = """
select
    profiles.profile_id,
    profiles.primary_identifier,
    profiles.email,
    profiles.user_id,
    profiles.anonymous_id,
    profiles.last_seen_at,
    profiles.total_orders,
    profiles.total_spend
from unify.profiles
where (profiles.last_seen_at, profiles.profile_id) < ($1::timestamptz, $2::uuid)
order by profiles.last_seen_at desc, profiles.profile_id desc
limit $3
"""
PAST_IDS = """
select
    changes.old_profile_id,
    changes.kind,
    changes.changed_at,
    changes.evidence,
    evidence.event_type as evidence_event_type,
    evidence.occurred_at as evidence_occurred_at
from unify.profile_changes as changes
left join unify.events as evidence on changes.evidence = evidence.event_id
where changes.profile_id = $1
order by changes.changed_at desc, changes.run desc, changes.old_profile_id
limit 100
"""
AUDIENCE_CHANGES = """
select
    changes.profile_id,
    changes.change,
    changes.changed_at,
    changes.change_number,
    changes.definition_version,
    changes.reason,
    coalesce(profiles.email, profiles.user_id, profiles.primary_identifier) as shown_as
from (
    select *
    from segment.audience_changes
    where
        audience_changes.audience_id = $1
        and (audience_changes.changed_at, audience_changes.profile_id) < ($2::timestamptz, $3::uuid)
    order by audience_changes.changed_at desc, audience_changes.profile_id desc
    limit $4
) as changes
left join unify.profiles on changes.profile_id = profiles.profile_id
order by changes.changed_at desc, changes.profile_id desc
"""
# What was sent to POST /audiences, whether a refresh has taken it up or not.
WAITING_AUDIENCES = """
select
    sent.audience_key,
    sent.name,
    sent.description,
    sent.definition,
    sent.owner,
    sent.is_enabled,
    'POST /audiences' as source,
    sent.defined_at as created_at
from (
    select distinct on (definitions.audience_key) definitions.*
    from raw.audience_definitions as definitions
    order by definitions.audience_key, definitions.definition_id desc
) as sent
order by sent.audience_key
"""
# The newest builds of each audience, oldest first: what a small picture of its size needs.
TRENDS = """
select
    audiences.audience_id,
    builds.built_at,
    builds.member_count,
    builds.entered_count,
    builds.exited_count
from segment.audiences
cross join lateral (
    select *
    from segment.audience_builds
    where audience_builds.audience_id = audiences.audience_id
    order by audience_builds.built_at desc
    limit 60
) as builds
where $1::bigint is null or audiences.audience_id = $1
order by audiences.audience_id, builds.built_at
"""
FRESHNESS = """
select
    watermark.as_of,
    extract(epoch from now() - watermark.as_of)::float8 as age_seconds,
    pending.event_count,
    pending.oldest_received_at,
    extract(epoch from now() - pending.oldest_received_at)::float8 as lag_seconds
from (select 1) as always
left join decide.watermark on true
cross join lateral raw.landed_after(coalesce(watermark.to_xid, 0), $1) as pending
"""
INTAKE = """
select
    intake.source,
    sum(intake.received_count)::bigint as received_count,
    sum(intake.kept_count)::bigint as kept_count,
    sum(intake.duplicate_count)::bigint as duplicate_count,
    sum(intake.rejected_count)::bigint as rejected_count
from collect.daily_intake as intake
where intake.received_on > (now() at time zone 'UTC')::date - $1::integer
group by intake.source
order by received_count desc, intake.source
"""
REJECTED = """
select
    rejections.rejected_id,
    rejections.received_at,
    rejections.source,
    rejections.path,
    rejections.code,
    rejections.message,
    rejections.message_id,
    rejections.replayed_at
from raw.rejections
where rejections.rejected_id < $1
order by rejections.rejected_id desc
limit $2
"""
# Of the newest ones, so that a flood of bad events does not make the page wait.
REJECTED_BY_CODE = """
select
    newest.code,
    count(*) as entry_count
from (
    select rejections.code, rejections.replayed_at
    from raw.rejections
    order by rejections.rejected_id desc
    limit $1
) as newest
where newest.replayed_at is null
group by newest.code
order by entry_count desc, newest.code
"""
DELIVERIES = """
select
    deliveries.delivery_id,
    deliveries.destination,
    audiences.audience_key,
    deliveries.audience_id,
    deliveries.rows,
    deliveries.rows_failed,
    deliveries.status,
    deliveries.error,
    deliveries.started_at,
    deliveries.finished_at
from activate.deliveries
left join segment.audiences on deliveries.audience_id = audiences.audience_id
order by deliveries.started_at desc
limit $1
"""
HELD_DESTINATIONS = """
select
    states.destination,
    states.disabled_at,
    states.disabled_reason,
    states.not_before
from activate.destination_states as states
where states.disabled_at is not null or states.not_before > now()
order by states.destination
"""
# Of the first ones by destination, so that one that is down for weeks does not make the page wait.
UNSETTLED = """
select
    unsettled.destination,
    unsettled.audience_id,
    audiences.audience_key,
    unsettled.message_id,
    unsettled.status,
    count(*) as row_count,
    sum(count(*)) over ()::bigint as counted,
    max(unsettled.attempts) as attempts,
    min(unsettled.next_attempt_at) as next_attempt_at,
    max(unsettled.error) as error
from (
    select *
    from activate.delivery_rows
    order by
        delivery_rows.destination,
        delivery_rows.audience_id,
        delivery_rows.message_id
    limit $1
) as unsettled
left join segment.audiences on unsettled.audience_id = audiences.audience_id
group by
    unsettled.destination,
    unsettled.audience_id,
    audiences.audience_key,
    unsettled.message_id,
    unsettled.status
order by unsettled.status <> 'dead', min(unsettled.next_attempt_at), unsettled.message_id
limit $2
"""
# A message has at most as many rows as fit into 20 kB.
MESSAGE_ROWS = """
select
    delivery_rows.profile_id,
    delivery_rows.change,
    delivery_rows.status,
    delivery_rows.attempts,
    delivery_rows.as_of,
    delivery_rows.definition_version,
    delivery_rows.first_tried_at,
    delivery_rows.next_attempt_at,
    delivery_rows.error,
    coalesce(profiles.email, profiles.user_id, profiles.primary_identifier) as shown_as
from activate.delivery_rows
left join unify.profiles on delivery_rows.profile_id = profiles.profile_id
where
    delivery_rows.destination = $1
    and delivery_rows.audience_id = $2
    and delivery_rows.message_id = $3
order by delivery_rows.profile_id
limit 1000
"""


async def unless_built(database: Database, statement: str, parameters: list[Any]) -> list[Row]:
    """The rows, or none before the first refresh has made the tables."""
    try:
        return await database.rows(statement, parameters)
    except RequestError as error:
        if error.code == NOT_BUILT:
            return []
        raise
