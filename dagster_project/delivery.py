"""Delivering an audience to a destination: all of it, or what differs from what it acknowledged."""

from collections.abc import Callable
from typing import Any

import psycopg

from dagster_project import acknowledged
from dagster_project.delivery_attempt import Attempt, begin, connections, find_audience
from dagster_project.destinations.destination import (
    Audience,
    Delivered,
    DeliveryError,
    Destination,
    HeldError,
)
from dagster_project.destinations.row_format import describe, read_columns
from dagster_project.exclusive import exclusive
from dagster_project.subscriptions import EVERY_AUDIENCE, Subscription

AUDIENCE = """
select
    audience_id,
    audience_key,
    built_version as definition_version,
    last_built_at as as_of
from segment.audiences
where is_enabled and last_built_at is not null and audience_key = %(audience_key)s
"""


def audience_keys(database: str) -> list[str]:
    """The audiences that have members to deliver, or none: enabled, and built at least once."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select audience_key from segment.audiences"
            " where is_enabled and last_built_at is not null order by audience_key"
        ).fetchall()
    return [str(key) for (key,) in rows]


def deliver(
    database: str,
    destination: Destination,
    audience_key: str,
    *,
    holder: str,
    on_wait: Callable[[str], None],
    subscription: Subscription | None = None,
    may_become_empty: bool = False,
) -> Delivered:
    """Deliver one audience and record it.

    Raises HeldError where nothing was sent because somebody has to decide, DeliveryError when
    there is no such audience, or whatever the destination raises; the record then says why.
    """
    chosen = subscription or Subscription(EVERY_AUDIENCE, destination.name)
    with (
        exclusive(database, f"{destination.name} {audience_key}", holder=holder, on_wait=on_wait),
        connections(database) as (snapshot, log),
    ):
        attempt = begin(
            log,
            snapshot,
            destination,
            audience=_find(snapshot, audience_key),
            subscription=chosen,
            on_progress=on_wait,
        )

        def work() -> Delivered:
            if not (may_become_empty or chosen.may_become_empty):
                _check_not_emptied(attempt)
            delivered = _carry_out(attempt)
            snapshot.commit()
            return delivered

        return attempt.record(work, done="succeeded")


def _carry_out(attempt: Attempt) -> Delivered:
    snapshot, audience, chosen = attempt.snapshot, attempt.audience, attempt.subscription
    name, destination = attempt.destination.name, attempt.destination
    columns = read_columns(snapshot, chosen.columns, chosen.hashing)
    row_format = describe(chosen.mode, chosen.columns, chosen.hashing)
    before = acknowledged.read_state(snapshot, name, audience.audience_id)
    is_comparable = before is not None and before.row_format == row_format
    # What a failed attempt may have brought there is in no state, so no difference would mend it.
    is_certain = is_comparable and not attempt.follows_a_failure
    wants_all = chosen.mode == "full" or (not is_certain and destination.takes_whole_audiences)
    if wants_all and destination.takes_whole_audiences:
        count = _count_members(snapshot, audience)
        delivered = attempt.hand_over(columns, count, is_whole=True)
        if chosen.mode == "delta":
            acknowledged.acknowledge_all(snapshot, name, audience, columns)
        elif not is_comparable:
            acknowledged.forget(snapshot, name, audience.audience_id)
    else:
        count = acknowledged.find_changes(
            snapshot,
            name,
            audience,
            columns,
            before if is_comparable else None,
            is_whole=wants_all,
        )
        delivered = attempt.hand_over(columns, count, is_whole=False)
        if destination.takes_whole_audiences:
            acknowledged.acknowledge_changes(snapshot, name, audience)
    acknowledged.save_state(
        snapshot,
        name,
        audience,
        row_format,
        has_rows=_has_members(snapshot, audience)
        or bool(delivered.warning and before and before.has_rows),
        is_compared=delivered.rows_unsent == 0,
        before=before,
    )
    return delivered


def _check_not_emptied(attempt: Attempt) -> None:
    name, audience = attempt.destination.name, attempt.audience
    before = acknowledged.read_state(attempt.snapshot, name, audience.audience_id)
    if before is None or not before.has_rows or _has_members(attempt.snapshot, audience):
        return
    raise HeldError(
        f"Audience {audience.audience_key} has become empty, so nothing was sent to {name}. If "
        f"that is right, run `cdp deliveries confirm {audience.audience_key} {name}`; for an "
        "audience that may, set may_become_empty in seeds/activations.csv."
    )


def _has_members(snapshot: psycopg.Connection[Any], audience: Audience) -> bool:
    row = snapshot.execute(
        "select exists (select from segment.audience_members where audience_id = %s)",
        [audience.audience_id],
    ).fetchone()
    return bool(row and row[0])


def _count_members(snapshot: psycopg.Connection[Any], audience: Audience) -> int:
    row = snapshot.execute(
        "select count(*) from segment.audience_members where audience_id = %s",
        [audience.audience_id],
    ).fetchone()
    return int(row[0]) if row else 0


def _find(snapshot: psycopg.Connection[Any], audience_key: str) -> Audience:
    audience = find_audience(snapshot, AUDIENCE, {"audience_key": audience_key})
    if audience is None:
        raise DeliveryError(
            f"There is no audience {audience_key!r} in segment.audiences; run `cdp refresh` if it "
            "is new, or enable it in seeds/audiences.csv."
        )
    return audience
