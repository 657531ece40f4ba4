"""Messages that may or may not have arrived, in `activate.delivery_rows`.

A row is written down before it is sent and leaves when its message is acknowledged, so that a
process killed in between loses nothing: the next run sends the same message under the same id.
A newer change of a member takes the place of an older one that is unsettled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from dagster_project.destinations.destination import Message, RowChange

# A message of a process that was killed is due at once: we hold the lock.
DUE = """
select message_id, as_of, definition_version, attempts, profile_id, change, sent
from activate.delivery_rows
where destination = %s and audience_id = %s
    and (status = 'sending' or (status = 'pending' and next_attempt_at <= clock_timestamp()))
order by as_of, message_id, profile_id
"""

STAGE = """
create temporary table if not exists staged_rows (
    profile_id uuid, change text, sent jsonb, message_id text, as_of timestamptz,
    definition_version integer
)
"""
TAKE_OVER = """
insert into activate.delivery_rows (
    destination, audience_id, profile_id, change, sent, message_id, delivery_id,
    definition_version, as_of, status
)
select
    %(destination)s, %(audience_id)s, profile_id, change, sent, message_id, %(delivery_id)s,
    definition_version, as_of, 'sending'
from staged_rows
on conflict (destination, audience_id, profile_id) do update set
    change = excluded.change,
    sent = excluded.sent,
    message_id = excluded.message_id,
    delivery_id = excluded.delivery_id,
    definition_version = excluded.definition_version,
    as_of = excluded.as_of,
    status = excluded.status,
    attempts = 0,
    is_replacement = true,
    error = null,
    first_tried_at = clock_timestamp(),
    next_attempt_at = clock_timestamp()
"""
ACKNOWLEDGE = """
with arrived as (
    delete from activate.delivery_rows
    where destination = %(destination)s and audience_id = %(audience_id)s
        and message_id = any(%(message_ids)s)
    returning profile_id, change, sent
),

left_for_good as (
    delete from activate.acknowledged_rows
    using arrived
    where destination = %(destination)s and audience_id = %(audience_id)s
        and acknowledged_rows.profile_id = arrived.profile_id and arrived.change = 'exited'
)

insert into activate.acknowledged_rows (destination, audience_id, profile_id, sent)
select %(destination)s, %(audience_id)s, profile_id, sent
from arrived
where change <> 'exited'
on conflict (destination, audience_id, profile_id) do update set sent = excluded.sent
"""
POSTPONE = """
update activate.delivery_rows set
    status = case when %(seconds)s::float is null then 'dead' else 'pending' end,
    attempts = attempts + 1,
    error = %(error)s,
    delivery_id = %(delivery_id)s,
    next_attempt_at = clock_timestamp() + coalesce(%(seconds)s::float, 0) * interval '1 second'
where destination = %(destination)s and audience_id = %(audience_id)s
    and message_id = %(message_id)s
"""
FORGET = (
    """
    delete from activate.delivery_rows
    where destination = %(destination)s and audience_id = %(audience_id)s
        and message_id = any(%(message_ids)s) and attempts = 0 and not is_replacement
    """,
    """
    update activate.delivery_rows set status = 'pending'
    where destination = %(destination)s and audience_id = %(audience_id)s
        and message_id = any(%(message_ids)s) and status = 'sending'
    """,
)
DISABLE = """
insert into activate.destination_states (destination, disabled_at, disabled_reason)
values (%s, clock_timestamp(), %s)
on conflict (destination) do update set
    disabled_at = excluded.disabled_at, disabled_reason = excluded.disabled_reason
"""
LEAVE_ALONE = """
insert into activate.destination_states (destination, not_before)
values (%s, clock_timestamp() + %s * interval '1 second')
on conflict (destination) do update set not_before = excluded.not_before
"""


@dataclass(frozen=True)
class PostgresOutbox:
    """The outbox of one audience and destination, on an autocommit connection."""

    connection: psycopg.Connection[Any]
    destination: str
    audience_id: int
    delivery_id: Any

    def due(self) -> list[Message]:
        rows = self.connection.execute(DUE, [self.destination, self.audience_id]).fetchall()
        messages: dict[str, Message] = {}
        for message_id, as_of, version, attempts, *row in rows:
            before = messages.get(message_id)
            messages[message_id] = Message(
                message_id,
                as_of,
                version,
                (*(before.rows if before else ()), RowChange(*row)),
                attempts,
            )
        return list(messages.values())

    def put(self, messages: Sequence[Message]) -> None:
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(STAGE)
            cursor.execute("truncate staged_rows")
            with cursor.copy("copy staged_rows from stdin") as copy:
                for message in messages:
                    for row in message.rows:
                        copy.write_row(
                            (
                                row.profile_id,
                                row.change,
                                Jsonb(row.sent),
                                message.message_id,
                                message.as_of,
                                message.definition_version,
                            )
                        )
            cursor.execute(TAKE_OVER, self._names | {"delivery_id": self.delivery_id})

    def acknowledge(self, messages: Sequence[Message]) -> None:
        message_ids = [message.message_id for message in messages]
        self.connection.execute(ACKNOWLEDGE, self._names | {"message_ids": message_ids})

    def postpone(self, message: Message, error: str, *, seconds: float | None) -> None:
        self.connection.execute(
            POSTPONE,
            self._names
            | {
                "seconds": seconds,
                "error": error,
                "delivery_id": self.delivery_id,
                "message_id": message.message_id,
            },
        )

    def forget(self, messages: Sequence[Message]) -> None:
        for statement in FORGET:
            self.connection.execute(
                statement,
                self._names | {"message_ids": [message.message_id for message in messages]},
            )

    def disable_destination(self, reason: str) -> None:
        self.connection.execute(DISABLE, [self.destination, reason])

    def leave_alone(self, seconds: float) -> None:
        self.connection.execute(LEAVE_ALONE, [self.destination, seconds])

    def has_due(self) -> bool:
        """Whether a message of an earlier run is to be tried now."""
        return bool(waiting(self.connection, self.destination, self.audience_id))

    def count(self) -> int:
        """Changes that are unsettled."""
        row = self.connection.execute(
            "select count(*) from activate.delivery_rows"
            " where destination = %(destination)s and audience_id = %(audience_id)s",
            self._names,
        ).fetchone()
        return int(row[0]) if row else 0

    @property
    def _names(self) -> dict[str, Any]:
        return {"destination": self.destination, "audience_id": self.audience_id}


def revive(
    connection: psycopg.Connection[Any], destination: str | None = None
) -> list[tuple[str, int]]:
    """Make every row that was given up, or waits, due now; return their (destination, audience).

    A destination that asked to be left alone is asked again; one that is disabled stays so.
    """
    connection.execute(
        "update activate.destination_states set not_before = null"
        " where %(destination)s::text is null or destination = %(destination)s",
        {"destination": destination},
    )
    where = sql.SQL("where %(destination)s::text is null or destination = %(destination)s")
    connection.execute(
        sql.SQL(
            "update activate.delivery_rows set status = 'pending', next_attempt_at ="
            " clock_timestamp(), attempts = case when status = 'dead' then 0 else attempts end {}"
        ).format(where),
        {"destination": destination},
    )
    return waiting(connection, destination)


def waiting(
    connection: psycopg.Connection[Any],
    destination: str | None = None,
    audience_id: int | None = None,
) -> list[tuple[str, int]]:
    """The (destination, audience_id) pairs of which a message is due."""
    rows = connection.execute(
        "select distinct destination, audience_id from activate.delivery_rows"
        " where status <> 'dead' and next_attempt_at <= clock_timestamp()"
        " and (%(destination)s::text is null or destination = %(destination)s)"
        " and (%(audience_id)s::bigint is null or audience_id = %(audience_id)s) order by 1, 2",
        {"destination": destination, "audience_id": audience_id},
    ).fetchall()
    return [(str(name), int(audience_id)) for name, audience_id in rows]
