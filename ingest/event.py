"""From one Segment-shaped JSON object to the row that lands in raw.events."""

import re
import uuid
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from cdp.json_tokens import MAX_DEPTH, is_deeper
from cdp.phone_numbers import e164
from ingest.arrival import Receipt, Rules
from ingest.rejection import RejectionError, quote
from ingest.times import occurred, read_instant

EVENT_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})

# The reach of a double. PostgreSQL could hold more, but a short text such as 1e130000 would become
# a number of 130,000 digits there, and BigQuery's JSON holds doubles only.
LARGEST_EXPONENT = 308

_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Event(msgspec.Struct, frozen=True, gc=False):
    """One row of raw.events; the fields are its columns, in the order that COPY writes them."""

    message_id: str
    type: str
    event: str | None
    user_id: str | None
    anonymous_id: str | None
    email: str | None
    phone: str | None
    previous_id: str | None
    occurred_at: datetime
    original_at: datetime | None
    sent_at: datetime | None
    received_at: datetime
    source: str
    payload: bytes


def _exact_number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = None
    if number is None or abs(number.adjusted()) > LARGEST_EXPONENT:
        raise ValueError(f"the number {text[:40]} is outside the range of a double")
    return number


# Decimal keeps a number as it was written: 19.90 stays 19.90 and no digit of an amount is lost.
decode_json = msgspec.json.Decoder(float_hook=_exact_number).decode
encode_json = msgspec.json.Encoder(decimal_format="number").encode


def decode_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises RejectionError with a code that says what is wrong with it."""
    try:
        document = decode_json(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.ValidationError, OverflowError) as error:
        raise RejectionError("invalid_number", f"The JSON holds a bad number: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RejectionError("malformed_json", f"This is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise RejectionError(
            "malformed_json", f"The JSON is {_kind(document)}; give an object such as {{...}}."
        )
    if is_deeper(body, MAX_DEPTH):
        raise _too_deep()
    return document


def _too_deep() -> RejectionError:
    return RejectionError("too_deep", f"The JSON is nested more than {MAX_DEPTH} levels deep.")


def land(
    document: dict[str, Any],
    event_type: str | None,
    receipt: Receipt,
    rules: Rules,
    *,
    is_history: bool = False,
) -> Event:
    """Check one event and extract what the columns hold.

    `document` becomes the payload: `type` and `messageId` are filled in, a write key is taken out,
    everything else stays as sent. `event_type` is what the address says, None in a batch. The times
    of history are taken as they are. Raises RejectionError where the event cannot be accepted.
    """
    message_id = _identifier(document, "messageId", rules) or str(uuid.uuid4())
    kind = event_type or _event_type(document)
    context = _object(document, "context")
    traits = _object(document, "traits")
    _object(document, "properties")
    context_traits = _object(context, "traits", "context.traits") if context else None
    # A group's traits describe the group, not the person.
    people = (context_traits,) if kind == "group" else (traits, context_traits)
    user_id = _identifier(document, "userId", rules)
    anonymous_id = _identifier(document, "anonymousId", rules)
    email = _email(people, rules)
    phone = _phone(people, rules)
    previous_id = _identifier(document, "previousId", rules) if kind == "alias" else None
    name = _name(document, "event", rules) if kind == "track" else None
    if kind == "track" and name is None:
        raise RejectionError("missing_event", "A track call needs the name of its event.")
    if kind == "identify" and not (user_id or anonymous_id or email or phone):
        raise RejectionError(
            "missing_identifier",
            "An identify call needs a user id, an anonymous id, an e-mail or a phone number.",
        )
    if kind == "alias" and not (user_id and previous_id):
        raise RejectionError("missing_identifier", "An alias call needs userId and previousId.")
    if kind == "group" and not _identifier(document, "groupId", rules):
        raise RejectionError("missing_group_id", "A group call needs a groupId.")

    timestamp = read_instant(document.get("timestamp"), "timestamp")
    original = read_instant(document.get("originalTimestamp"), "originalTimestamp")
    sent_at = read_instant(document.get("sentAt"), "sentAt")
    document["type"] = kind
    document["messageId"] = message_id
    document.pop("writeKey", None)
    try:
        payload = encode_json(document)
    except RecursionError:
        raise _too_deep() from None
    if b"\\u0000" in payload and _NUL_ESCAPE.search(payload):
        raise RejectionError(
            "nul_character", "A text holds the character U+0000, which PostgreSQL cannot store."
        )
    return Event(
        message_id,
        kind,
        name,
        user_id,
        anonymous_id,
        email,
        phone,
        previous_id,
        occurred(timestamp, original, None if is_history else sent_at, receipt.received_at, rules),
        original or timestamp,
        sent_at,
        receipt.received_at,
        receipt.source,
        payload,
    )


def _event_type(document: dict[str, Any]) -> str:
    kind = document.get("type")
    if isinstance(kind, str) and kind in EVENT_TYPES:
        return kind
    if kind is None or kind == "":
        raise RejectionError("missing_type", "The event has no type; give for example track.")
    raise RejectionError(
        "unknown_type", f"type is {quote(kind)}; give one of {', '.join(sorted(EVENT_TYPES))}."
    )


def _object(
    document: dict[str, Any], name: str, full_name: str | None = None
) -> dict[str, Any] | None:
    value = document.get(name)
    if value is None or isinstance(value, dict):
        return value
    raise RejectionError(
        f"invalid_{name}", f"{full_name or name} is {_kind(value)}; give an object such as {{...}}."
    )


def _identifier(document: dict[str, Any], name: str, rules: Rules) -> str | None:
    """An id as text. Numbers become text, digit by digit; null and blank mean absent."""
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise RejectionError("invalid_identifier", f"{name} is {_kind(value)}; give a text.")
        value = f"{value:f}" if isinstance(value, Decimal) else str(value)  # 1e2 is 100
    return _short(value.strip(), name, rules)


def _name(document: dict[str, Any], name: str, rules: Rules) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise RejectionError("invalid_event", f"{name} is {_kind(value)}; give a text.")
    return _short(value, name, rules) if value and not value.isspace() else None


def _short(value: str, name: str, rules: Rules) -> str | None:
    limit = rules.max_identifier_bytes
    # A character takes at most four bytes: most values need no encoding to know that they fit.
    if len(value) * 4 > limit and len(value.encode()) > limit:
        raise RejectionError(
            "identifier_too_long",
            f"{name} has {len(value.encode())} bytes; at most {limit} are allowed.",
        )
    return value or None


def _email(people: tuple[dict[str, Any] | None, ...], rules: Rules) -> str | None:
    value = _first_text(people, "email")
    return _short(value.lower(), "email", rules) if value else None


def _phone(people: tuple[dict[str, Any] | None, ...], rules: Rules) -> str | None:
    value = _first_text(people, "phone")
    return _short(e164(value), "phone", rules) if value else None


def _first_text(people: tuple[dict[str, Any] | None, ...], name: str) -> str | None:
    for traits in people:
        value = traits.get(name) if traits else None
        if isinstance(value, str) and (text := value.strip()):
            return text
    return None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    for kind, name in ((str, "a text"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return "a number"
