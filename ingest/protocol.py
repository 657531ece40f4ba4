"""uvicorn's HTTP protocol with a bound on what comes before a body.

uvicorn keeps any number of headers of any size and waits for them for ever; the bodies behind them
are bounded by ingest.body.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_SECONDS = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers are too large or too late."""

    _head_bytes = 0
    _is_in_head = True
    _first_head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Give the first request a time to arrive; later ones have uvicorn's keep-alive timeout."""
        super().connection_made(transport)
        self._first_head_deadline = self.loop.call_later(HEAD_TIMEOUT_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._forget_deadline()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its body begins."""
        self._is_in_head = False
        self._forget_deadline()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take what was received, unless its head outgrows the bound."""
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's headers are too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, in the form of all other errors."""
        body = msgspec.json.encode({"code": "bad_request", "message": msg})
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()

    def _forget_deadline(self) -> None:
        if self._first_head_deadline:
            self._first_head_deadline.cancel()
            self._first_head_deadline = None
