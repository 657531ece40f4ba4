"""Write keys: finding them in a request, and knowing whose they are."""

import base64
import binascii
import hmac
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from urllib.parse import parse_qsl

import psycopg

from cdp.hashed_secrets import hash_secret
from ingest.rejection import UnauthorizedError, UnavailableError

log = logging.getLogger(__name__)

OPEN_SOURCE = "default"
_IN_BODY = re.compile(rb'"writeKey"\s*:\s*"([^"\\]{1,256})"')
MOST_IN_BODY = 64


class WriteKeys:
    """The active keys, as last read from the database; they stay while it is away.

    On loopback, as long as no key was ever made, every request is accepted as source `default`.
    """

    def __init__(self, *, is_loopback: bool) -> None:
        self._is_loopback = is_loopback
        self._sources: dict[bytes, tuple[bytes, str]] = {}
        self.is_open = False
        self.were_read = False

    async def refresh(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        """Read the active keys. Creating and revoking take effect without a restart."""
        cursor = await connection.execute(
            "select source, key_hash, raw.has_write_keys() from raw.active_write_keys()"
            " right join (select) as always on true"
        )
        rows = await cursor.fetchall()
        had_keys = bool(self._sources)
        self._sources = {
            bytes(key_hash)[:8]: (bytes(key_hash), str(source))
            for source, key_hash, _ in rows
            if isinstance(key_hash, bytes)
        }
        was_open = self.is_open
        self.is_open = self._is_loopback and not rows[0][2]
        if self.is_open and not was_open:
            log.warning("open: no write key exists, events land as source 'default'")
        if not self._is_loopback and not self._sources and (had_keys or not self.were_read):
            log.error("every request is refused: no write key is active")
        self.were_read = True

    def source_of(self, keys: Iterable[str]) -> str:
        """The source of the first key that is known.

        Raises UnauthorizedError when none is, UnavailableError before the keys have been read.
        """
        if self.is_open:
            return OPEN_SOURCE
        if not self.were_read:
            raise UnavailableError
        for key in keys:
            presented = hash_secret(key)
            # Found by a part of its hash, compared in constant time.
            stored, source = self._sources.get(presented[:8], (b"", ""))
            if hmac.compare_digest(stored, presented):
                return source
        raise UnauthorizedError


def presented_keys(
    authorization: bytes, x_write_key: bytes, query: bytes, body: bytes
) -> Iterator[str]:
    """Every write key in a request: Basic user name, header, query and body, in this order.

    Jitsu sends `key:secret` in the header; both the whole and the first part may be the key.
    """
    if authorization[:6].lower() == b"basic ":
        try:
            user, _, _ = base64.b64decode(authorization[6:]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = ""
        if user:
            yield user
    if x_write_key:
        header = x_write_key.decode("latin-1")
        yield header
        yield header.partition(":")[0]
    if query:
        for name, value in parse_qsl(query.decode("latin-1")):
            if name == "writeKey":
                yield value
    # Not parsed: the key also says whose a body is that is not valid JSON, and may be in any event.
    for found in islice(_IN_BODY.finditer(body), MOST_IN_BODY):
        yield found[1].decode("latin-1")
