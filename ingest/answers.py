"""What goes back: always JSON, always exactly one answer.

Success is exactly 200: some SDKs take any other 2xx for a failure and send the batch again. An
error has `code` and `message`, or some SDKs take it for a network fault and retry for ever.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from ingest.arrival import Arrival
from ingest.rejection import NotTakenError

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes]

RETRY_AFTER_SECONDS = 1
_RETRY_AFTER = (b"retry-after", str(RETRY_AFTER_SECONDS).encode())
_JSON = (b"content-type", b"application/json")
_CORS = (
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", b"Retry-After"),
    (b"vary", b"Origin"),
)
_RETRIED = frozenset({408, 429, 503})

SERVER_ERROR: Answer = (
    500,
    b'{"code":"internal_error","message":"The service failed; the events were not stored."}',
)

encode = msgspec.json.encode


def answer_one(arrival: Arrival) -> Answer:
    """The answer to a single call, or to a request that was rejected as a whole."""
    if arrival.rejected:
        part = arrival.rejected[0]
        return part.status, encode({"code": part.code, "message": part.message})
    taken = arrival.accepted or arrival.suppressed
    received_at = arrival.receipt.received_at
    return 200, encode(
        {
            "success": True,
            "message_id": taken[0].message_id,
            "received_at": received_at,
        }
    )


def answer_batch(arrival: Arrival) -> Answer:
    """The answer to a batch: how many were accepted, and why each other one was not."""
    rejected = [
        {
            "index": part.index,
            "message_id": part.message_id,
            "code": part.code,
            "message": part.message,
        }
        for part in sorted(arrival.rejected, key=lambda part: part.index or 0)
    ]
    # Nobody learns from an answer who is suppressed.
    accepted = len(arrival.accepted) + len(arrival.suppressed)
    return 200, encode({"success": True, "accepted": accepted, "rejected": rejected})


def answer_error(error: NotTakenError) -> Answer:
    """The answer to a request of which nothing was kept."""
    return error.status, encode({"code": error.code, "message": error.message})


async def send_answer(send: Send, answer: Answer, origin: bytes) -> None:
    """Send an answer; those that may succeed later carry Retry-After.

    `origin` is the page that asks, empty outside a browser. Any page may send events and read the
    answer: the write key in a page is public anyway, and nothing here goes by cookies.
    """
    status, body = answer
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    if status in _RETRIED:
        headers.append(_RETRY_AFTER)
    if origin:
        headers.append((b"access-control-allow-origin", origin))
        headers.extend(_CORS)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
