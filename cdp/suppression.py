"""Suppression: identifiers whose later events are dropped at landing, kept as salted hashes."""

import hashlib
import time
from collections.abc import Iterable
from typing import Any

import psycopg

from cdp.errors import UserError

# The columns of an event that carry identifiers, and the types that a value in each can be. An
# alias call does not say of which type its other id is.
CARRIED = (
    ("user_id", ("user_id",)),
    ("email", ("email",)),
    ("phone", ("phone",)),
    ("anonymous_id", ("anonymous_id",)),
    ("previous_id", ("user_id", "anonymous_id")),
)
LONGEST_WAIT_SECONDS = 120
POLL_SECONDS = 0.1


class LandingsOpenError(UserError):
    """A transaction that began before a suppression is still open."""


class Suppressions:
    """The suppressed identifiers as one process knows them; `last_id` says up to which."""

    def __init__(self) -> None:
        self.last_id = 0
        self._salt = b""
        self._hashes: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take in the rows of raw.suppressions_after(last_id)."""
        for suppression_id, identifier_hash, salt in rows:
            self.last_id = int(suppression_id)
            self._hashes.add(bytes(identifier_hash))
            self._salt = bytes(salt)

    def covers(self, carried: Iterable[str | None]) -> bool:
        """Whether one of an event's identifiers, in the order of CARRIED, is suppressed."""
        return any(
            hash_identifier(self._salt, kind, value) in self._hashes
            for (_column, kinds), value in zip(CARRIED, carried, strict=True)
            if value is not None
            for kind in kinds
        )


NEWER = "select suppression_id, identifier_hash, salt from raw.suppressions_after(%s)"


def hash_identifier(salt: bytes, identifier_type: str, value: str) -> bytes:
    """sha256(salt || 'type:value'), as raw.suppressions and certificates keep it."""
    return hashlib.sha256(salt + f"{identifier_type}:{value}".encode()).digest()


def learn_suppressions(connection: psycopg.Connection[Any], known: Suppressions) -> None:
    """Add those that are newer than what is known."""
    known.add(connection.execute(NEWER, [known.last_id]).fetchall())


def suppress(connection: psycopg.Connection[Any], identifiers: Iterable[tuple[str, str]]) -> int:
    """Suppress (type, value) pairs, in a transaction of the caller's; return how many are new."""
    # One at a time, so that the ids grow in the order of commits and nobody skips one.
    connection.execute("lock table raw.suppressions in exclusive mode")
    row = connection.execute("select salt from raw.suppression_salt").fetchone()
    assert row is not None  # noqa: S101 - the migration put it there
    hashes = [hash_identifier(row[0], kind, value) for kind, value in identifiers]
    added = connection.execute(
        "insert into raw.suppressions (identifier_hash) select distinct unnest(%s::bytea[])"
        " except select identifier_hash from raw.suppressions",
        [hashes],
    )
    return added.rowcount


def wait_for_open_landings(url: str, seconds: float = LONGEST_WAIT_SECONDS) -> None:
    """Wait until every transaction that is open now has ended.

    After that no writer lands an event by an older list of suppressions. Raises LandingsOpenError.
    """
    deadline = time.monotonic() + seconds
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("select pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        horizon = row[0] if row else "0"
        ended = "select pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8"
        while connection.execute(ended, [horizon]).fetchone() != (True,):
            if time.monotonic() > deadline:
                raise LandingsOpenError(
                    f"A transaction has been open for more than {seconds:.0f} s; end it "
                    "(pg_stat_activity, ordered by xact_start, names it) and erase again."
                )
            time.sleep(POLL_SECONDS)
