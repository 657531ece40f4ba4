"""The text format of COPY: one line per row, columns separated by tabs."""

import base64
import functools
import re
from collections.abc import Iterable
from datetime import datetime

from psycopg import sql

from cdp.json_tokens import TOKENS
from ingest.arrival import Receipt, Rejected
from ingest.event import Event

EVENT_COLUMNS = Event.__struct_fields__
COPY_EVENTS = f"copy raw.events ({', '.join(EVENT_COLUMNS)}) from stdin"

REJECTED_COLUMNS = (
    "received_at", "source", "path", "code", "message", "message_id", "batch_index",
    "body", "body_encoding",
)  # fmt: skip
COPY_REJECTED = f"copy raw.rejected_events ({', '.join(REJECTED_COLUMNS)}) from stdin"

LANDING_COLUMNS = (
    "received_on", "source", "received_count", "accepted_count", "rejected_count",
    "suppressed_count",
)  # fmt: skip

PATH_LENGTH = 200  # of a path that a client made up, in the quarantine

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_WRITE_KEY = re.compile(rb'"write_?key"', re.IGNORECASE)
_CUSTOMERS_OWN = (b'"properties"', b'"traits"')


def event_row(event: Event) -> bytes:
    """The line of raw.events for an event."""
    payload = event.payload
    if b"\\" in payload:
        payload = payload.replace(b"\\", b"\\\\")
    # Mostly the same instant; formatting one costs as much as parsing the whole event.
    occurred_at = _instant(event.occurred_at)
    is_same = event.original_at is event.occurred_at
    original_at = occurred_at if is_same else _instant(event.original_at)
    columns = (
        f"{_text(event.message_id)}\t{event.type}\t{_text(event.event)}\t{_text(event.user_id)}"
        f"\t{_text(event.anonymous_id)}\t{_text(event.email)}\t{_text(event.phone)}"
        f"\t{_text(event.previous_id)}\t{occurred_at}"
        f"\t{original_at}\t{_instant(event.sent_at)}"
        f"\t{_received(event.received_at)}\t{_text(event.source)}\t"
    )
    return b"%b%b\n" % (columns.encode(), payload)


def rejected_row(part: Rejected, receipt: Receipt) -> bytes:
    """The line of raw.rejected_events. Write keys in the body are masked; it is never changed else.

    A body that PostgreSQL could not hold as text is kept as base64.
    """
    body, encoding = storable_body(part.body)
    message_id = part.message_id[:1000] if part.message_id else None
    batch_index = "\\N" if part.index is None else part.index
    return (
        f"{_instant(receipt.received_at)}\t{_text(receipt.source)}\t{_text(_printable(receipt.path[:PATH_LENGTH]))}"
        f"\t{part.code}\t{_text(part.message)}\t{_text(_printable(message_id))}"
        f"\t{batch_index}\t{_text(body)}\t{encoding}\n"
    ).encode()


def insert_landings(landings: Iterable[tuple[str, str, *tuple[int, ...]]]) -> str:
    """The statement that accounts for a commit: day, source and the counts of each."""
    values = ", ".join(
        f"({_literal(received_on)}, {_literal(source)}, {', '.join(map(str, counts))})"
        for received_on, source, *counts in landings
    )
    return f"insert into raw.landings ({', '.join(LANDING_COLUMNS)}) values {values}"  # noqa: S608 - quoted


def storable_body(body: bytes) -> tuple[str, str]:
    """A body as text and its encoding, `utf-8` or `base64`, with write keys masked."""
    masked = _masked(body)
    try:
        text = masked.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return base64.b64encode(masked).decode(), "base64"
    return text, "utf-8"


def _masked(body: bytes) -> bytes:
    """A body without its write keys. A property or a trait that is called so is not one."""
    if not _WRITE_KEY.search(body):
        return body
    pieces: list[bytes] = []
    kept_to = previous_end = depth = own_depth = 0
    previous = b""
    for token in TOKENS.finditer(body):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
            if not own_depth and previous in _CUSTOMERS_OWN:
                own_depth = depth
        elif text in (b"}", b"]"):
            if depth == own_depth:
                own_depth = 0
            depth -= 1
        elif (
            not own_depth
            and text[:1] == b'"'
            and _WRITE_KEY.fullmatch(previous)
            and body[previous_end : token.start()].strip() == b":"
        ):
            pieces += [body[kept_to : token.start()], b'"***"']
            kept_to = token.end()
        previous, previous_end = text, token.end()
    return b"".join([*pieces, body[kept_to:]])


def _literal(value: str) -> str:
    return sql.Literal(value).as_string()


def _text(value: str | None) -> str:
    if value is None:
        return "\\N"
    if "\\" not in value and value.isprintable():
        return value
    return value.translate(_ESCAPES)


def _instant(value: datetime | None) -> str:
    return value.isoformat() if value else "\\N"


@functools.lru_cache(maxsize=8)
def _received(value: datetime) -> str:
    """The same for all events of a batch, and formatted once."""
    return value.isoformat()


def _printable(value: str | None) -> str | None:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value else None
