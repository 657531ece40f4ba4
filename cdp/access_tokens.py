"""Access tokens of the read side: secrets with scopes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from cdp.errors import UserError
from cdp.hashed_secrets import SecretStore

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


ACCESS_TOKENS = SecretStore(
    noun="access token",
    table="access_tokens",
    columns=("access_token_id", "name", "scopes", "created_at", "revoked_at"),
    hash_column="token_hash",
    prefix="at",
    names="shop or crm-sync",
    command="cdp tokens",
    role="serving",
    side="read side",
    error=AccessTokenError,
)


def create_token(connection: psycopg.Connection[Any], name: str, scopes: Sequence[str]) -> str:
    """Make a token and return it; it cannot be read again."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise AccessTokenError(
            f"The scopes are {','.join(scopes) or 'none'}; give one or more of {', '.join(SCOPES)}."
        )
    return ACCESS_TOKENS.create(connection, name, {"scopes": sorted(set(scopes))})


def list_tokens(connection: psycopg.Connection[Any]) -> list[AccessToken]:
    """All tokens ever made, oldest first."""
    return [AccessToken(*row) for row in ACCESS_TOKENS.rows(connection)]


def revoke_token(connection: psycopg.Connection[Any], access_token_id: int) -> AccessToken:
    """Revoke a token; running services refuse it within CDP_WRITE_KEY_REFRESH_SECONDS."""
    return AccessToken(*ACCESS_TOKENS.revoke(connection, access_token_id))
