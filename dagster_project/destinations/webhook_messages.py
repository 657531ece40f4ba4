"""What a webhook says: changes of one audience, in messages of at most 20 kB.

    {"type": "audience.members_changed", "timestamp": "<as of>", "data": {"audience_key": ...,
     "audience_id": ..., "definition_version": ..., "as_of": ..., "rows": [
       {"change": "entered", "profile_id": ..., "row": {"email": ..., ...}}]}}

`entered` and `changed` mean: hold this row. `exited` means: hold none; its row is the last one
sent. A row may come more than once; `profile_id` tells which one it is.
"""

import uuid
from collections.abc import Iterable, Iterator

import msgspec

from dagster_project.destinations.destination import Audience, Message, RowChange

TYPE = "audience.members_changed"
# The specification advises senders to stay below 20 kB.
MAX_BODY_BYTES = 20_000

encoder = msgspec.json.Encoder(order="deterministic")


def messages(
    audience: Audience, changes: Iterable[RowChange], *, max_rows: int
) -> Iterator[Message]:
    """The changes in messages as large as they may be. One row that is too large by itself comes
    alone, for the caller to give up."""
    room = MAX_BODY_BYTES - len(body(audience, _message(audience, ())))
    rows: list[RowChange] = []
    size = 0
    for change in changes:
        added = len(encoder.encode(_row(change))) + 1
        if rows and (size + added > room or len(rows) == max_rows):
            yield _message(audience, tuple(rows))
            rows, size = [], 0
        rows.append(change)
        size += added
    if rows:
        yield _message(audience, tuple(rows))


def body(audience: Audience, message: Message) -> bytes:
    """The same bytes in every attempt, as long as no newer change has taken a row's place."""
    as_of = message.as_of.isoformat()
    return encoder.encode(
        {
            "type": TYPE,
            "timestamp": as_of,
            "data": {
                "audience_key": audience.audience_key,
                "audience_id": audience.audience_id,
                "definition_version": message.definition_version,
                "as_of": as_of,
                "rows": [_row(row) for row in message.rows],
            },
        }
    )


def _row(change: RowChange) -> dict[str, object]:
    return {
        "change": change.change,
        "profile_id": str(change.profile_id),
        "row": change.sent,
    }


def _message(audience: Audience, rows: tuple[RowChange, ...]) -> Message:
    return Message(f"msg_{uuid.uuid4().hex}", audience.as_of, audience.definition_version, rows)
