"""What the SDKs send: which address means what, and how a body becomes events.

Three shapes share one path from here on: the simple calls, the Segment calls (also spoken by
RudderStack's and Jitsu's SDKs) and Segment's batches. What real SDKs need is described in
docs/sdks.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ingest.arrival import Accepted, Arrival, Receipt, Rejected, Rules
from ingest.event import EVENT_TYPES, decode_object, encode_json, land
from ingest.rejection import RejectionError
from ingest.rows import event_row
from ingest.salvage import split_batch
from ingest.simple import said_in_its_names, translate_identify, translate_track
from ingest.times import read_instant


@dataclass(frozen=True, slots=True)
class Call:
    """What a POST to one address means.

    `event_type` is None where the event itself says it. `is_history` marks imports: their times
    are taken as they are, because a `sentAt` of years ago says nothing about a clock.
    """

    event_type: str | None = None
    is_batch: bool = False
    is_history: bool = False
    translate: Callable[[dict[str, Any]], dict[str, Any]] | None = None


_SHORT_FORMS = {kind[0]: kind for kind in sorted(EVENT_TYPES)}  # i t p s g a
_BATCH = Call(is_batch=True)

JITSU = "/api/s/"  # and what follows it: the kind of the event, or s2s/ and the kind

CALLS: dict[str, Call] = {
    "/track": Call("track", translate=translate_track),
    "/identify": Call("identify", translate=translate_identify),
    "/v1/batch": _BATCH,
    **{f"/v1/{kind}": Call(kind) for kind in sorted(EVENT_TYPES)},
    **{f"/v1/{letter}": Call(kind) for letter, kind in _SHORT_FORMS.items()},
    "/v1/import": Call(is_batch=True, is_history=True),
    "/v1/b": _BATCH,
    "/b": _BATCH,
    "/beacon/v1/batch": _BATCH,  # RudderStack's browser SDK while a page closes
}


NULL = msgspec.Raw(b"null")


class Envelope(msgspec.Struct, rename="camel"):
    """The body of a batch. Its parts stay unparsed, so that one of them cannot spoil the others."""

    batch: list[msgspec.Raw]
    context: msgspec.Raw = NULL
    integrations: msgspec.Raw = NULL
    sent_at: msgspec.Raw = NULL


# What a batch may say for all its events, beside when it was sent.
SHARED_OBJECTS = ("context", "integrations")


@dataclass(slots=True)
class Parsed:
    """A body after its first look: one object or the items of a batch.

    `refusal` says why the request cannot be accepted as a whole.
    """

    document: dict[str, Any] = field(default_factory=dict)
    items: list[bytes] = field(default_factory=list)
    refusal: RejectionError | None = None


_decode_envelope = msgspec.json.Decoder(Envelope).decode


def find_call(path: str) -> Call | None:
    """The call that a path stands for, Jitsu's addresses included; None for any other path."""
    return jitsu_call(path) if path.startswith(JITSU) else CALLS.get(path)


def jitsu_call(path: str) -> Call:
    """The call that one of Jitsu's addresses stands for."""
    kind = path.removeprefix(JITSU).removeprefix("s2s/")
    if kind == "batch":
        return _BATCH
    return Call(kind if kind in EVENT_TYPES else None)


def parse(call: Call, body: bytes, rules: Rules) -> Parsed:
    """Parse a body as far as needed to know its events, and say what is wrong with it."""
    try:
        _check_size(call, body, rules)
        parsed = _parse_batch(body) if call.is_batch else _parse_one(body)
    except RejectionError as error:
        return Parsed(refusal=error)
    if len(parsed.items) > rules.max_batch_events:
        parsed.refusal = RejectionError(
            "too_many_events",
            f"The batch has {len(parsed.items)} events; at most {rules.max_batch_events}"
            " are allowed.",
            413,
        )
    return parsed


def read(call: Call, parsed: Parsed, body: bytes, receipt: Receipt, rules: Rules) -> Arrival:
    """Turn a parsed body into rows and rejections. An unusable event never affects another one."""
    if parsed.refusal:
        return reject_request(receipt, parsed.refusal, body)
    arrival = Arrival(receipt)
    if not call.is_batch:
        _read_one(arrival, call, parsed.document, None, body=body, rules=rules)
        return arrival
    shared_bytes = _shared_bytes(parsed.document)
    if error := _too_large_together(parsed, shared_bytes, rules):
        return reject_request(receipt, error, body)
    for index, item in enumerate(parsed.items):
        size = len(item) + shared_bytes
        too_large = _too_large(size, rules) if size > rules.max_event_bytes else None
        try:
            document = decode_object(item)
        except RejectionError as error:
            arrival.rejected.append(_rejected(too_large or error, None, index, item))
            continue
        _fold(parsed.document, document, is_history=call.is_history)
        if too_large:
            sent_id, kept = _text(document.get("messageId")), _folded(document, item)
            arrival.rejected.append(_rejected(too_large, sent_id, index, kept))
            continue
        _read_one(arrival, call, document, index, body=item, rules=rules)
    return arrival


def reject_request(receipt: Receipt, error: RejectionError, body: bytes) -> Arrival:
    """The arrival of a request that is put into quarantine as a whole."""
    return Arrival(receipt, rejected=[_rejected(error, None, None, body)], is_refused=True)


def _parse_one(body: bytes) -> Parsed:
    return Parsed(decode_object(body))


def _parse_batch(body: bytes) -> Parsed:
    try:
        envelope = _decode_envelope(body)
        items = [bytes(item) for item in envelope.batch]
    except msgspec.ValidationError:
        raise RejectionError(
            "missing_batch", 'The body of a batch is {"batch": [event, ...]}.'
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # One item that is not JSON would make the whole body unreadable: look for the others.
        rest, items = split_batch(body)
        try:
            envelope = _decode_envelope(rest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RejectionError("malformed_json", "The body is not valid JSON.") from None
    shared = {
        "context": _object_or_none(envelope.context),
        "integrations": _object_or_none(envelope.integrations),
        "sentAt": _instant_or_none(envelope.sent_at),
    }
    return Parsed(shared, items)


# What a batch says for all its events must not cost them: an unusable value is as good as none.
def _object_or_none(said: msgspec.Raw) -> dict[str, Any] | None:
    try:
        value = decode_object(b'{"shared":' + bytes(said) + b"}")["shared"]
    except RejectionError:
        return None
    return value if isinstance(value, dict) else None


def _instant_or_none(said: msgspec.Raw) -> Any:
    try:
        value = decode_object(b'{"sentAt":' + bytes(said) + b"}")["sentAt"]
        return value if read_instant(value, "sentAt") else None
    except RejectionError:
        return None


def _check_size(call: Call, body: bytes, rules: Rules) -> None:
    if not call.is_batch and len(body) > rules.max_event_bytes:
        raise _too_large(len(body), rules)
    if len(body) > rules.max_batch_bytes:
        raise RejectionError(
            "batch_too_large",
            f"The batch has {len(body)} bytes; at most {rules.max_batch_bytes} are allowed.",
            413,
        )


def _too_large(size: int, rules: Rules) -> RejectionError:
    return RejectionError(
        "event_too_large",
        f"The event has {size} bytes; at most {rules.max_event_bytes} are allowed.",
        413,
    )


def _shared_bytes(shared: dict[str, Any]) -> int:
    """Bytes that each event of a batch gets from its context and integrations."""
    said = [shared[name] for name in SHARED_OBJECTS if shared[name]]
    return sum(len(encode_json(each)) for each in said)


def _too_large_together(parsed: Parsed, shared_bytes: int, rules: Rules) -> RejectionError | None:
    """What a small batch says for all its events is kept with each: that has to be bounded, too."""
    size = sum(map(len, parsed.items)) + shared_bytes * len(parsed.items)
    if size <= rules.max_body_bytes:
        return None
    return RejectionError(
        "batch_too_large",
        f"With the batch's context and integrations in each of them its {len(parsed.items)} events"
        f" have {size} bytes; at most {rules.max_body_bytes} are allowed. Send fewer at a time.",
        413,
    )


def _fold(shared: dict[str, Any], document: dict[str, Any], *, is_history: bool) -> None:
    """Give an item what its batch says for all of them. What the item says itself wins."""
    for name in SHARED_OBJECTS:
        common = shared[name]
        if not common:
            continue
        own = document.get(name)
        if own is None:
            document[name] = common
        elif isinstance(own, dict) and isinstance(common, dict):
            document[name] = common | own
    if not is_history and document.get("sentAt") is None and shared["sentAt"] is not None:
        document["sentAt"] = shared["sentAt"]


def _read_one(
    arrival: Arrival,
    call: Call,
    document: dict[str, Any],
    index: int | None,
    *,
    body: bytes,
    rules: Rules,
) -> None:
    sent_id = document.get("message_id" if call.translate else "messageId")
    try:
        if call.translate:
            document = call.translate(document)
        event = land(document, call.event_type, arrival.receipt, rules, is_history=call.is_history)
    except RejectionError as rejection:
        error = said_in_its_names(rejection) if call.translate else rejection
        kept = _folded(document, body) if call.is_batch else body
        arrival.rejected.append(_rejected(error, _text(sent_id), index, kept))
        return
    kept = event.payload if call.is_batch else body
    carried = (event.user_id, event.email, event.phone, event.anonymous_id, event.previous_id)
    arrival.accepted.append(Accepted(event_row(event), event.message_id, index, kept, carried))


def _folded(document: dict[str, Any], item: bytes) -> bytes:
    """What is kept of an event of a batch: with all that its batch says, to be replayed alone."""
    try:
        return encode_json(document)
    except RecursionError:
        return item


def _rejected(
    error: RejectionError, message_id: str | None, index: int | None, body: bytes
) -> Rejected:
    return Rejected(error.code, error.message, message_id, index, body, error.status)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
