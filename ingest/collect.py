"""The hot path: one request from its first byte to its answer.

Plain ASGI rather than Starlette's Request and Response, because this code runs for every event.
"""

import logging
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
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
from ingest.rejection import NotTakenError, RejectionError
from ingest.wire import CALLS, Call, Parsed, find_call, parse, read, reject_request
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

    async def collect(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """Read, check, store, and only then answer.

        Raises NotTakenError where nothing was stored, and ClientGoneError where nobody is left to
        answer.
        """
        received_at = datetime.now(UTC)
        headers = scope["headers"]
        encoding = find_header(headers, b"content-encoding").strip().lower()
        body, outcome = await self._read(receive, encoding, call)
        body_key = outcome.write_key if isinstance(outcome, Parsed) else None
        source = self.keys.source_of(
            presented_keys(
                find_header(headers, b"authorization"),
                find_header(headers, b"x-write-key"),
                scope["query_string"],
                body_key,
            )
        )
        items = outcome.items if isinstance(outcome, Parsed) else []
        self.rate_limit.take(source, len(items) or 1)
        receipt = Receipt(scope["path"], source, received_at)
        if isinstance(outcome, Parsed):
            arrival = read(call, outcome, body, receipt, self.rules)
        else:
            arrival = reject_request(receipt, outcome, body)
        await self.writer.store(arrival)
        self.metrics.count_events(arrival)
        if call.is_batch and not arrival.is_refused:
            return answer_batch(arrival)
        return answer_one(arrival)

    async def _read(
        self, receive: Receive, encoding: bytes, call: Call
    ) -> tuple[bytes, Parsed | RejectionError]:
        """The body and what it says. A body that cannot be used is returned with the reason."""
        body = b""
        try:
            body = await self.reader.read(receive)
            body = decode_body(body, encoding, self.reader.max_bytes)
            return body, parse(call, body)
        except RejectionError as error:
            return (b"" if error.code == "body_too_large" else body), error


class Endpoint:
    """A collecting address as an ASGI application."""

    def __init__(self, collector: Collector, label: str) -> None:
        """`label` is the address in the metrics."""
        self._collector = collector
        self._label = label
        self._call = CALLS.get(label)  # None where the rest of the path decides

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._call or find_call(scope["path"])
        if call is None:
            raise LookupError(f"no call at {self._label}")
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
