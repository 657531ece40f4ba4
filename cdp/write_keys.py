"""Write keys: one secret per source, shown once, kept as a hash."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from cdp.errors import UserError


class WriteKeyError(UserError):
    """A key could not be created or revoked; the message says what to do."""


@dataclass(frozen=True)
class WriteKey:
    """A stored key: everything about it but the key itself."""

    write_key_id: int
    source: str
    created_at: datetime
    revoked_at: datetime | None


def hash_key(key: str) -> bytes:
    """SHA-256 of a key. Keys are random, 256 bits, so no slow password hash is needed."""
    return hashlib.sha256(key.encode()).digest()


def create_key(connection: psycopg.Connection[Any], source: str) -> str:
    """Make a key for a source and return it; it cannot be read again."""
    key = f"wk_{secrets.token_urlsafe(32)}"
    try:
        connection.execute(
            "insert into raw.write_keys (source, key_hash) values (%s, %s)", [source, hash_key(key)]
        )
    except psycopg.errors.CheckViolation:
        raise WriteKeyError(
            f'The source is "{source}"; give lower-case letters, digits, - or _, at most 63, '
            "such as web or ios-app."
        ) from None
    return key


def list_keys(connection: psycopg.Connection[Any]) -> list[WriteKey]:
    """All keys ever made, oldest first."""
    rows = connection.execute(
        "select write_key_id, source, created_at, revoked_at from raw.write_keys"
        " order by write_key_id"
    )
    return [WriteKey(*row) for row in rows]


def revoke_key(connection: psycopg.Connection[Any], write_key_id: int) -> WriteKey:
    """Revoke a key; running services refuse it within CDP_WRITE_KEY_REFRESH_SECONDS."""
    row = connection.execute(
        "update raw.write_keys set revoked_at = coalesce(revoked_at, now()) where write_key_id = %s"
        " returning write_key_id, source, created_at, revoked_at",
        [write_key_id],
    ).fetchone()
    if row is None:
        raise WriteKeyError(f"There is no write key {write_key_id}; `cdp keys list` shows them.")
    return WriteKey(*row)
