"""Access tokens of the read side: secrets with scopes, shown once, kept as a hash."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from cdp.errors import UserError
from cdp.write_keys import hash_key

# decide: ask for decisions. read: profiles, audiences, exports. manage: define audiences, erase.
SCOPES = ("decide", "read", "manage")


class AccessTokenError(UserError):
    """A token could not be created or revoked; the message says what to do."""


@dataclass(frozen=True)
class AccessToken:
    """A stored token: everything about it but the token itself."""

    access_token_id: int
    name: str
    scopes: Sequence[str]
    created_at: datetime
    revoked_at: datetime | None


def create_token(connection: psycopg.Connection[Any], name: str, scopes: Sequence[str]) -> str:
    """Make a token and return it; it cannot be read again."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise AccessTokenError(
            f"The scopes are {','.join(scopes) or 'none'}; give one or more of {', '.join(SCOPES)}."
        )
    token = f"at_{secrets.token_urlsafe(32)}"
    try:
        connection.execute(
            "insert into raw.access_tokens (name, scopes, token_hash) values (%s, %s, %s)",
            [name, sorted(set(scopes)), hash_key(token)],
        )
    except psycopg.errors.CheckViolation:
        raise AccessTokenError(
            f'The name is "{name}"; give lower-case letters, digits, - or _, at most 63, '
            "such as shop or crm-sync."
        ) from None
    return token


def list_tokens(connection: psycopg.Connection[Any]) -> list[AccessToken]:
    """All tokens ever made, oldest first."""
    rows = connection.execute(
        "select access_token_id, name, scopes, created_at, revoked_at from raw.access_tokens"
        " order by access_token_id"
    )
    return [AccessToken(*row) for row in rows]


def revoke_token(connection: psycopg.Connection[Any], access_token_id: int) -> AccessToken:
    """Revoke a token; running services refuse it within CDP_WRITE_KEY_REFRESH_SECONDS."""
    row = connection.execute(
        "update raw.access_tokens set revoked_at = coalesce(revoked_at, now())"
        " where access_token_id = %s"
        " returning access_token_id, name, scopes, created_at, revoked_at",
        [access_token_id],
    ).fetchone()
    if row is None:
        raise AccessTokenError(
            f"There is no access token {access_token_id}; `cdp tokens list` shows them."
        )
    return AccessToken(*row)
