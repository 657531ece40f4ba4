"""Reading a request's body: in bounded memory, in bounded time, gzip included."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from ingest.rejection import RejectionError, SlowClientError, UnavailableError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

GZIP_MAGIC = b"\x1f\x8b"
MAX_GZIP_MEMBERS = 64
UTF8_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(slots=True)
class BodyReader:
    """Reads bodies of at most `max_bytes`, and all those under way together in `budget_bytes`."""

    max_bytes: int
    budget_bytes: int
    timeout_seconds: float
    held_bytes: int = 0

    async def read(self, receive: Receive) -> bytes:
        """The body as sent.

        Raises RejectionError (413) beyond the limit, SlowClientError, ClientGoneError, or
        UnavailableError when too much is being read already.
        """
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.timeout_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    self.held_bytes += len(chunk)
                    if size > self.max_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join((*chunks, chunk)) if chunks else chunk
                    if self.held_bytes > self.budget_bytes:
                        raise UnavailableError
                    chunks.append(chunk)
        except TimeoutError:
            raise SlowClientError from None
        finally:
            self.held_bytes -= size

    def _too_large(self) -> RejectionError:
        return RejectionError(
            "body_too_large", f"The body has more than {self.max_bytes} bytes.", 413
        )


def decode_body(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """The body without its Content-Encoding and without a byte order mark.

    Raises RejectionError: 413 for a body that inflates beyond `max_bytes`, 400 for broken gzip, 415
    for another encoding.
    """
    if encoding not in (b"", b"identity", b"gzip", b"x-gzip"):
        raise RejectionError(
            "unsupported_encoding", "Content-Encoding must be gzip or absent.", 415
        )
    # Some proxies inflate a body and keep the header, some drop the header: the bytes decide.
    if body.startswith(GZIP_MAGIC):
        body = inflate(body, max_bytes)
    return body.removeprefix(UTF8_BYTE_ORDER_MARK)


def inflate(body: bytes, max_bytes: int) -> bytes:
    """Inflate gzip, and stop as soon as the limit is passed.

    A body may have several members, but not any number: each costs a copy of what follows it.
    """
    inflated = b""
    for _ in range(MAX_GZIP_MEMBERS):
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            inflated += stream.decompress(body, max_bytes + 1 - len(inflated))
        except zlib.error:
            raise RejectionError("malformed_gzip", "The body is not valid gzip.") from None
        if len(inflated) > max_bytes:
            raise RejectionError(
                "body_too_large", f"The body has more than {max_bytes} bytes, inflated.", 413
            )
        if not stream.eof:
            raise RejectionError("malformed_gzip", "The gzip body is cut off.")
        body = stream.unused_data
        if not body.startswith(GZIP_MAGIC):
            return inflated
    raise RejectionError("malformed_gzip", "The gzip body has too many members.")
