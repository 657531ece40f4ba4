"""Sending what was rejected through again, after a fix.

Runs as the owner: the write role can put rows into the quarantine but not read them. The events
keep their source and the time they were received, and go through the very code that a request goes
through.
"""

import base64
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from cdp.settings import Settings
from cdp.suppression import Suppressions, learn_suppressions
from ingest.arrival import Arrival, Receipt, Rules
from ingest.rejection import RejectionError
from ingest.rows import COPY_EVENTS, COPY_REJECTED, insert_landings, rejected_row
from ingest.wire import Call, find_call, parse, read, reject_request

NEXT: LiteralString = """
    select rejected_id, received_at, source, path, batch_index, body, body_encoding
    from raw.rejected_events
    where replayed_at is null
        and rejected_id > %(after)s
        and rejected_id <= %(last)s
        and (%(code)s::text is null or code = %(code)s)
    order by rejected_id
    limit 1
    for update skip locked
"""


@dataclass
class ReplayResult:
    """What became of the quarantine. `reasons` counts the codes of what is still rejected."""

    replayed: int = 0
    accepted_events: int = 0
    suppressed_events: int = 0
    still_rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def replay_rejected(url: str, settings: Settings, *, code: str | None = None) -> ReplayResult:
    """Try every rejected event and request again, oldest first, each in its own transaction.

    What is accepted lands in raw.events and its entry is marked; what is rejected again stays as it
    is. What is of a suppressed identifier by now is counted and dropped. Of a batch of which a part
    is accepted now, the rest is quarantined anew, event by event. Safe to interrupt and to run
    twice at once. `code` picks one reason.
    """
    rules = Rules.from_settings(settings)
    suppressions = Suppressions()
    result = ReplayResult()
    after = 0
    with psycopg.connect(url, autocommit=True) as connection:
        newest = connection.execute("select max(rejected_id) from raw.rejected_events").fetchone()
        last = newest[0] if newest else None
        while True:
            with connection.transaction():
                chosen = {"after": after, "last": last, "code": code}
                row = connection.execute(NEXT, chosen).fetchone()
                if row is None:
                    return result
                after = row[0]
                # With the row locked: an erasure waits for this transaction from now on.
                learn_suppressions(connection, suppressions)
                _count(result, _replay(connection, row, rules, suppressions))


def _count(result: ReplayResult, arrival: Arrival) -> None:
    if arrival.accepted or arrival.suppressed:
        result.replayed += 1
        result.suppressed_events += len(arrival.suppressed)
        result.accepted_events += len(arrival.accepted)
    else:
        result.still_rejected += 1
        result.reasons.update({part.code for part in arrival.rejected})


def _replay(
    connection: psycopg.Connection[Any],
    row: tuple[Any, ...],
    rules: Rules,
    suppressions: Suppressions,
) -> Arrival:
    rejected_id, received_at, source, path, batch_index, body_text, encoding = row
    body = base64.b64decode(body_text) if encoding == "base64" else body_text.encode()
    receipt = Receipt(path, source, received_at)
    arrival = _read_again(receipt, body, rules, is_item=batch_index is not None)
    arrival.drop_suppressed(suppressions)
    if arrival.accepted or arrival.suppressed:
        connection.execute("select raw.ensure_partition(%s)", [received_at.date()])
        try:
            with connection.transaction():
                _store(connection, arrival)
        except psycopg.DataError as error:
            reason = error.diag.message_primary or "no reason given"
            return _refused(receipt, RejectionError("not_storable", reason))
        # What is kept of an entry is what was sent, and of suppressed people nothing may be.
        body = "[suppressed]" if arrival.suppressed else body_text
        connection.execute(
            "update raw.rejected_events set replayed_at = now(), body = %s where rejected_id = %s",
            [body, rejected_id],
        )
    return arrival


def _read_again(receipt: Receipt, body: bytes, rules: Rules, *, is_item: bool) -> Arrival:
    call = find_call(receipt.path)
    if call is None:
        return _refused(receipt, RejectionError("unknown_path", "No such address any more."))
    if is_item:
        call = Call(is_history=call.is_history)
    return read(call, parse(call, body, rules), body, receipt, rules)


def _refused(receipt: Receipt, error: RejectionError) -> Arrival:
    return reject_request(receipt, error, b"")


def _store(connection: psycopg.Connection[Any], arrival: Arrival) -> None:
    rejected = [rejected_row(part, arrival.receipt) for part in arrival.rejected]
    with connection.cursor() as cursor:
        with cursor.copy(COPY_EVENTS) as copy:
            copy.write(b"".join(event.row for event in arrival.accepted))
        if rejected:
            with cursor.copy(COPY_REJECTED) as copy:
                copy.write(b"".join(rejected))
        receipt = arrival.receipt
        landing = (receipt.received_at.date().isoformat(), receipt.source, *arrival.counts)
        cursor.execute(insert_landings([landing]).encode())
