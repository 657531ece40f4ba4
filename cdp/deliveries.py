"""What the deliveries left behind, for whoever looks after them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from cdp.errors import UserError

NEWEST = """
select distinct on (deliveries.destination, deliveries.audience_id)
    deliveries.destination,
    coalesce(states.audience_key, deliveries.audience_id::text) as audience_key,
    deliveries.status,
    deliveries.rows,
    deliveries.rows_failed,
    deliveries.error,
    deliveries.started_at
from activate.deliveries
left join activate.subscription_states as states using (destination, audience_id)
order by deliveries.destination, deliveries.audience_id, deliveries.started_at desc
"""
UNSETTLED = """
select
    rows.destination,
    coalesce(states.audience_key, rows.audience_id::text) as audience_key,
    rows.message_id,
    rows.status,
    count(*) as row_count,
    max(rows.attempts) as attempts,
    min(rows.next_attempt_at) as next_attempt_at,
    max(rows.error) as error
from activate.delivery_rows as rows
left join activate.subscription_states as states using (destination, audience_id)
where %(destination)s::text is null or rows.destination = %(destination)s
group by
    rows.destination, rows.audience_id, states.audience_key, rows.message_id, rows.status
order by rows.destination, rows.audience_id, min(rows.first_tried_at), rows.message_id
limit %(limit)s
"""
ENABLE = """
update activate.destination_states set disabled_at = null, disabled_reason = null, not_before = null
where destination = %s and (disabled_at is not null or not_before is not null)
"""


@dataclass(frozen=True)
class LastDelivery:
    """The newest attempt of an audience and destination."""

    destination: str
    audience_key: str
    status: str
    rows: int | None
    rows_failed: int | None
    error: str | None
    started_at: datetime


@dataclass(frozen=True)
class Unsettled:
    """A message that a destination has not acknowledged."""

    destination: str
    audience_key: str
    message_id: str
    status: str
    row_count: int
    attempts: int
    next_attempt_at: datetime
    error: str | None


def last_deliveries(connection: psycopg.Connection[Any]) -> list[LastDelivery]:
    with connection.cursor(row_factory=class_row(LastDelivery)) as cursor:
        return cursor.execute(NEWEST).fetchall()


def unsettled(
    connection: psycopg.Connection[Any], destination: str | None = None, limit: int = 50
) -> list[Unsettled]:
    """At most `limit` messages, the oldest of each audience first."""
    with connection.cursor(row_factory=class_row(Unsettled)) as cursor:
        return cursor.execute(UNSETTLED, {"destination": destination, "limit": limit}).fetchall()


def enable(connection: psycopg.Connection[Any], destination: str) -> None:
    """Let deliveries go to a destination again. Raises UserError where nothing holds it."""
    if connection.execute(ENABLE, [destination]).rowcount == 0:
        raise UserError(
            f"{destination} is neither disabled nor left alone; `cdp deliveries list` shows all."
        )
