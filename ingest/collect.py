"""The hot path: one request from its first byte to its answer.

Plain ASGI rather than Starlette's Request and Response, because this code runs for every event.
"""

from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

from ingest.answers import Answer, Send, answer_batch, answer_error, answer_one, send_answer
from ingest.arrival import Receipt, Rules
from ingest.body import BodyReader, ClientGoneError, Receive, decode_body
from ingest.credentials import WriteKeys, presented_keys
from ingest.metrics import Metrics
from ingest.rejection import NotTakenError, RejectionError
from ingest.wire import Call, Parsed, find_call, parse, read, reject_request
from ingest.writer import Writer

Scope = MutableMapping[str, Any]


class Collector:
    """Takes requests in and answers them once what they bring is on disk."""

    def __init__(
        self,
        rules: Rules,
        reader: BodyReader,
        keys: WriteKeys,
        writer: Writer,
        metrics: Metrics,
    ) -> None:
        self._rules = rules
        self._reader = reader
        self._keys = keys
        self._writer = writer
        self._metrics = metrics

    async def collect(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """Read, check, store, and only then answer.

        Raises NotTakenError where nothing was stored, and ClientGoneError where nobody is left to
        answer.
        """
        received_at = datetime.now(UTC)
        encoding = authorization = x_write_key = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-encoding":
                encoding = value.strip().lower()
            elif name == b"x-write-key":
                x_write_key = value
        body, outcome = await self._read(receive, encoding, call)
        body_key = outcome.write_key if isinstance(outcome, Parsed) else None
        source = self._keys.source_of(
            presented_keys(authorization, x_write_key, scope["query_string"], body_key)
        )
        receipt = Receipt(scope["path"], source, received_at)
        if isinstance(outcome, Parsed):
            arrival = read(call, outcome, body, receipt, self._rules)
        else:
            arrival = reject_request(receipt, outcome, body)
        await self._writer.store(arrival)
        self._metrics.count_events(arrival)
        if call.is_batch and not arrival.is_refused:
            return answer_batch(arrival)
        return answer_one(arrival)

    async def _read(
        self, receive: Receive, encoding: bytes, call: Call
    ) -> tuple[bytes, Parsed | RejectionError]:
        """The body and what it says. A body that cannot be used is returned with the reason."""
        body = b""
        try:
            body = await self._reader.read(receive)
            body = decode_body(body, encoding, self._reader.max_bytes)
            return body, parse(call, body)
        except RejectionError as error:
            return (b"" if error.code == "body_too_large" else body), error

    def count(self, path: str, status: int) -> None:
        self._metrics.count_request(path, status)


class Endpoint:
    """A collecting address as an ASGI application."""

    def __init__(self, collector: Collector, label: str) -> None:
        """`label` is the address in the metrics."""
        self._collector = collector
        self._label = label
        self._call = find_call(label)

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
        self._collector.count(self._label, answer[0])
        await send_answer(send, answer)
