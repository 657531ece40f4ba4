"""Write keys: one or more secrets per source."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from cdp.errors import UserError
from cdp.hashed_secrets import SecretStore


class WriteKeyError(UserError):
    """A key could not be created or revoked; the message says what to do."""


@dataclass(frozen=True)
class WriteKey:
    """A stored key: everything about it but the key itself."""

    write_key_id: int
    source: str
    created_at: datetime
    revoked_at: datetime | None


WRITE_KEYS = SecretStore(
    noun="write key",
    table="write_keys",
    columns=("write_key_id", "source", "created_at", "revoked_at"),
    hash_column="key_hash",
    prefix="wk",
    names="web or ios-app",
    command="cdp keys",
    role="ingest",
    side="service",
    error=WriteKeyError,
)


def create_key(connection: psycopg.Connection[Any], source: str) -> str:
    """Make a key for a source and return it; it cannot be read again."""
    return WRITE_KEYS.create(connection, source)


def list_keys(connection: psycopg.Connection[Any]) -> list[WriteKey]:
    """All keys ever made, oldest first."""
    return [WriteKey(*row) for row in WRITE_KEYS.rows(connection)]


def revoke_key(connection: psycopg.Connection[Any], write_key_id: int) -> WriteKey:
    """Revoke a key; running services refuse it within CDP_WRITE_KEY_REFRESH_SECONDS."""
    return WriteKey(*WRITE_KEYS.revoke(connection, write_key_id))
