"""Secrets that callers send, write keys and access tokens: shown once, kept as a hash."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdp.database import Role, database_url
from cdp.errors import UserError
from cdp.settings import Settings, SettingsError


def hash_secret(secret: str) -> bytes:
    """SHA-256. Secrets are random, 256 bits, so no slow password hash is needed."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True)
class SecretStore:
    """A table of raw with the hashes of one kind of secret.

    `columns` are what is shown of a secret: its id, its name, others, and when it was created and
    revoked. Of `role` is the service that asks for such secrets; `error` is raised with what to do.
    """

    noun: str
    table: str
    columns: Sequence[str]
    hash_column: str
    prefix: str
    names: str
    command: str
    role: Role
    side: str
    error: type[UserError]

    def create(
        self, connection: psycopg.Connection[Any], name: str, more: Mapping[str, Any] | None = None
    ) -> str:
        """Make a secret and return it; it cannot be read again. `more` has further columns."""
        secret = f"{self.prefix}_{secrets.token_urlsafe(32)}"
        named = self.columns[1]
        values = {named: name, self.hash_column: hash_secret(secret), **(more or {})}
        statement = sql.SQL("insert into raw.{} ({}) values ({})").format(
            sql.Identifier(self.table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Placeholder, values)),
        )
        try:
            connection.execute(statement, values)
        except psycopg.errors.CheckViolation:
            raise self.error(
                f'The {named} is "{name}"; give lower-case letters, digits, - or _, at most 63, '
                f"such as {self.names}."
            ) from None
        return secret

    def rows(self, connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
        """All secrets ever made, oldest first, without the secrets themselves."""
        statement = sql.SQL("select {} from raw.{} order by {}").format(
            self._shown(), sql.Identifier(self.table), sql.Identifier(self.columns[0])
        )
        return connection.execute(statement).fetchall()

    def revoke(self, connection: psycopg.Connection[Any], secret_id: int) -> tuple[Any, ...]:
        """Revoke one and return it; services refuse it within CDP_WRITE_KEY_REFRESH_SECONDS."""
        statement = sql.SQL(
            "update raw.{} set revoked_at = coalesce(revoked_at, now()) where {} = %s returning {}"
        ).format(sql.Identifier(self.table), sql.Identifier(self.columns[0]), self._shown())
        row = connection.execute(statement, [secret_id]).fetchone()
        if row is None:
            raise self.error(
                f"There is no {self.noun} {secret_id}; `{self.command} list` shows them."
            )
        return tuple(row)

    def require_one(self, settings: Settings) -> None:
        """Refuse to listen on more than loopback without an active secret.

        Raises SettingsError. A database that is away is no reason to refuse: the service answers
        503 until it is back.
        """
        if settings.listens_on_loopback:
            return
        statement = sql.SQL("select count(*) from raw.{}()").format(
            sql.Identifier(f"active_{self.table}")
        )
        try:
            with psycopg.connect(
                database_url(settings, self.role), connect_timeout=5
            ) as connection:
                row = connection.execute(statement).fetchone()
        except psycopg.OperationalError:
            return
        if not row or not row[0]:
            raise SettingsError(
                f"No {self.noun} exists, and the {self.side} would listen on more than loopback. "
                f"Run `{self.command} create {self.columns[1].upper()}`, "
                "or set CDP_HOST=127.0.0.1."
            )

    def _shown(self) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, self.columns))
