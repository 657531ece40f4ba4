"""The hot path: one request from its first byte to its answer.

Plain ASGI rather than Starlette's Request and Response, because this code runs for every event.
"""

import asyncio
import logging
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ingest.answers import (
    SERVER_ERROR,
    Answer,
    Send,
    answer_batch,
    answer_error,
    answer_one,
    send_answer,
)
from ingest.arrival import Receipt, Rules
from ingest.body import BodyReader, ClientGoneError, Receive, decode_body
from ingest.credentials import WriteKeys, presented_keys
from ingest.metrics import Metrics
from ingest.rate_limit import RateLimit
from ingest.rejection import (
    BodyTooLargeError,
    NotTakenError,
    RejectionError,
    UnauthorizedError,
)
from ingest.wire import CALLS, Call, Parsed, jitsu_call, parse, read
from ingest.writer import Writer

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Collector:
    """Takes requests in and answers them once what they bring is on disk."""

    rules: Rules
    reader: BodyReader
    keys: WriteKeys
    writer: Writer
    metrics: Metrics
    rate_limit: RateLimit
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def collect(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """Read, check, store, and only then answer.

        Raises NotTakenError where nothing was stored, and ClientGoneError where nobody is left to
        answer.
        """
        received_at = datetime.now(UTC)
        headers = scope["headers"]
        encoding = find_header(headers, b"content-encoding").strip().lower()
        body, parsed = await self._read(receive, encoding, call)
        try:
            source = self.keys.source_of(
                presented_keys(
                    find_header(headers, b"authorization"),
                    find_header(headers, b"x-write-key"),
                    scope["query_string"],
                    body,
                )
            )
        except UnauthorizedError:
            if parsed.refusal and parsed.refusal.code == BodyTooLargeError.code:
                raise BodyTooLargeError(parsed.refusal.message) from None
            raise
        self.rate_limit.take(source, len(parsed.items) or 1)
        receipt = Receipt(scope["path"], source, received_at)
        if call.is_batch:
            # One batch per round of the event loop: between two of them the loop feeds PostgreSQL,
            # which would else run out of rows in the middle of a commit, and takes single events.
            async with self._turn:
                await asyncio.sleep(0)
                arrival = read(call, parsed, body, receipt, self.rules)
        else:
            arrival = read(call, parsed, body, receipt, self.rules)
        await self.writer.store(arrival)
        self.metrics.count_events(arrival)
        if call.is_batch and not arrival.is_refused:
            return answer_batch(arrival)
        return answer_one(arrival)

    async def _read(self, receive: Receive, encoding: bytes, call: Call) -> tuple[bytes, Parsed]:
        """What is kept of the body, and what it says."""
        body = b""
        try:
            body = await self.reader.read(receive)
            body = decode_body(body, encoding, self.reader.max_bytes)
        except RejectionError as error:
            kept = b"" if error.code == BodyTooLargeError.code else body
            return kept, Parsed(refusal=error)
        return body, parse(call, body, self.rules)


class Endpoint:
    """A collecting address as an ASGI application."""

    def __init__(self, collector: Collector, label: str) -> None:
        """`label` is the address in the metrics."""
        self._collector = collector
        self._label = label
        self._call = CALLS.get(label)  # None where the rest of the path decides

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._call or jitsu_call(scope["path"])
        try:
            answer = await self._collector.collect(scope, receive, call)
        except NotTakenError as error:
            answer = answer_error(error)
        except ClientGoneError:
            return
        except Exception:
            log.exception("a request failed")
            answer = SERVER_ERROR
        self._collector.metrics.count_request(self._label, answer[0])
        await send_answer(send, answer, find_header(scope["headers"], b"origin"))


def find_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of a header, empty where it is absent. ASGI gives the names in lower case."""
    for header_name, value in headers:
        if header_name == name:
            return value
    return b""
