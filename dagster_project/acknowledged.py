"""What a destination in delta mode has acknowledged, and how the audience differs from it.

A delta compares three things per member: the row that the audience wants now, the row that was
acknowledged, and the row of a message that may or may not have arrived (`activate.delivery_rows`),
which counts as the newer word. Only candidates are compared: members that entered or left since the
last comparison, profiles that were written since, and what is unsettled. Without a last comparison,
or with another form of the rows, everybody is a candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from dagster_project.destinations.destination import Audience
from dagster_project.destinations.row_format import Column, row_json
from dagster_project.transaction_marks import (
    current_mark,
    remember,
    usable_mark,
    written_since,
)

EVERYBODY = """
    select profile_id from segment.audience_members where audience_id = %(audience_id)s
    union
    select profile_id from activate.acknowledged_rows
    where destination = %(destination)s and audience_id = %(audience_id)s
"""
# The audiences are written after their members, so a snapshot that has one has the other. Whether a
# touched profile is a member at all is seen when it is compared.
TOUCHED = """
    select profile_id from segment.audience_changes
    where audience_id = %(audience_id)s and changed_at > %(compared_at)s
    union
    select profile_id from unify.profiles
    where {is_written_since}
"""

CANDIDATES = """
create temporary table delivery_candidates on commit drop as
{candidates}
union
select profile_id from activate.delivery_rows
where destination = %(destination)s and audience_id = %(audience_id)s
"""
CHANGES = """
create temporary table delivery_changes on commit drop as
with candidates as (select profile_id from delivery_candidates),

wanted as (
    select profiles.profile_id, {row} as sent
    from candidates
    inner join segment.audience_members
        on candidates.profile_id = audience_members.profile_id
        and audience_members.audience_id = %(audience_id)s
    inner join unify.profiles on candidates.profile_id = profiles.profile_id
    where not %(is_withdrawn)s
),

acknowledged as (
    select acknowledged_rows.profile_id, acknowledged_rows.sent
    from candidates
    inner join activate.acknowledged_rows
        on candidates.profile_id = acknowledged_rows.profile_id
        and acknowledged_rows.destination = %(destination)s
        and acknowledged_rows.audience_id = %(audience_id)s
),

unsettled as (
    select profile_id, change, sent
    from activate.delivery_rows
    where destination = %(destination)s and audience_id = %(audience_id)s
)

select
    profile_id,
    case
        when wanted.sent is null then 'exited'
        when acknowledged.sent is null then 'entered'
        else 'changed'
    end as change,
    coalesce(wanted.sent, unsettled.sent, acknowledged.sent) as sent
from wanted
full join acknowledged using (profile_id)
full join unsettled using (profile_id)
where
    case
        when unsettled.change is not null
            then (unsettled.change = 'exited') <> (wanted.sent is null)
                or (wanted.sent is not null and unsettled.sent <> wanted.sent)
        else (%(is_whole)s and wanted.sent is not null)
            or wanted.sent is distinct from acknowledged.sent
    end
"""

# The last unsettled word of a row that left may be an exit that nobody acknowledged.
ACKNOWLEDGE_CHANGES = (
    """
    delete from activate.acknowledged_rows
    using delivery_changes
    where destination = %(destination)s and audience_id = %(audience_id)s
        and acknowledged_rows.profile_id = delivery_changes.profile_id
        and delivery_changes.change = 'exited'
    """,
    """
    insert into activate.acknowledged_rows (destination, audience_id, profile_id, sent)
    select %(destination)s, %(audience_id)s, profile_id, sent
    from delivery_changes
    where change <> 'exited'
    on conflict (destination, audience_id, profile_id) do update set sent = excluded.sent
    """,
)
ACKNOWLEDGE_ALL = (
    """
    delete from activate.acknowledged_rows
    where destination = %(destination)s and audience_id = %(audience_id)s
    """,
    """
    insert into activate.acknowledged_rows (destination, audience_id, profile_id, sent)
    select %(destination)s, %(audience_id)s, profiles.profile_id, {row}
    from segment.audience_members
    inner join unify.profiles on profiles.profile_id = audience_members.profile_id
    where audience_members.audience_id = %(audience_id)s
    """,
)

STATE = """
select row_format, has_rows, compared_at, {compared_xid}
from activate.subscription_states
where destination = %(destination)s and audience_id = %(audience_id)s
"""


@dataclass(frozen=True)
class State:
    """What was delivered of an audience to a destination, and up to where it was compared."""

    row_format: str
    has_rows: bool
    compared_at: datetime | None
    compared_xid: str | None


def read_state(
    snapshot: psycopg.Connection[Any], destination: str, audience_id: int
) -> State | None:
    """None before the first delivery."""
    row = snapshot.execute(
        sql.SQL(STATE).format(compared_xid=usable_mark("compared_xid")),
        {"destination": destination, "audience_id": audience_id},
    ).fetchone()
    return State(*row) if row else None


def find_changes(
    snapshot: psycopg.Connection[Any],
    destination: str,
    audience: Audience,
    columns: Sequence[Column],
    state: State | None,
    *,
    is_whole: bool = False,
    is_withdrawn: bool = False,
) -> int:
    """Fill the temporary table `delivery_changes` and return how many there are.

    `is_whole` makes every member a change, `is_withdrawn` lets everybody leave.
    """
    everybody = (
        is_whole
        or is_withdrawn
        or state is None
        or state.compared_at is None
        or state.compared_xid is None
    )
    names = {
        "destination": destination,
        "audience_id": audience.audience_id,
        "is_whole": is_whole,
        "is_withdrawn": is_withdrawn,
        "compared_at": state.compared_at if state else None,
        "compared_xid": state.compared_xid if state else None,
    }
    since = written_since(sql.Placeholder("compared_xid"))
    candidates = sql.SQL(EVERYBODY if everybody else TOUCHED).format(is_written_since=since)
    snapshot.execute(sql.SQL(CANDIDATES).format(candidates=candidates), names)
    # Without knowing how few they are, the planner reads all members to find them.
    snapshot.execute("analyze delivery_candidates")
    return snapshot.execute(sql.SQL(CHANGES).format(row=row_json(columns)), names).rowcount


def acknowledge_all(
    snapshot: psycopg.Connection[Any],
    destination: str,
    audience: Audience,
    columns: Sequence[Column],
) -> None:
    """The destination holds exactly the members of the snapshot."""
    for statement in ACKNOWLEDGE_ALL:
        snapshot.execute(
            sql.SQL(statement).format(row=row_json(columns)), _names(destination, audience)
        )


def acknowledge_changes(
    snapshot: psycopg.Connection[Any], destination: str, audience: Audience
) -> None:
    """The destination has carried out `delivery_changes`."""
    for statement in ACKNOWLEDGE_CHANGES:
        snapshot.execute(statement, _names(destination, audience))


def save_state(
    snapshot: psycopg.Connection[Any],
    destination: str,
    audience: Audience,
    row_format: str,
    *,
    has_rows: bool,
    is_compared: bool,
    before: State | None,
) -> None:
    """Remember what is held now. Where not everything `is_compared`, the next run begins as far
    back as this one did."""
    compared_at, compared_xid = (None, None)
    if is_compared:
        compared_at, compared_xid = audience.as_of, current_mark(snapshot)
    elif before is not None and before.row_format == row_format:
        compared_at, compared_xid = before.compared_at, before.compared_xid
    remember(
        snapshot,
        "subscription_states",
        _names(destination, audience),
        {
            "audience_key": audience.audience_key,
            "row_format": row_format,
            "has_rows": has_rows,
            "compared_at": compared_at,
            "compared_xid": compared_xid,
        },
    )


def held_audiences(connection: psycopg.Connection[Any], destination: str) -> dict[str, int]:
    """The audiences of which the destination holds something: id by key."""
    rows = connection.execute(
        "select audience_key, audience_id from activate.subscription_states where destination = %s",
        [destination],
    ).fetchall()
    return {str(key): int(audience_id) for key, audience_id in rows}


def forget(connection: psycopg.Connection[Any], destination: str, audience_id: int) -> None:
    """The destination holds nothing of the audience any more."""
    for table in ("acknowledged_rows", "delivery_rows", "subscription_states"):
        connection.execute(
            sql.SQL("delete from activate.{} where destination = %s and audience_id = %s").format(
                sql.Identifier(table)
            ),
            [destination, audience_id],
        )


def _names(destination: str, audience: Audience) -> dict[str, Any]:
    return {"destination": destination, "audience_id": audience.audience_id}
