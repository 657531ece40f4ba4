"""One built warehouse per test module, for tests that only look at it."""

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.warehouse import build, land, parsed_manifest

Row = dict[str, Any]

# Everything of unify and what it reads, without the stages after it.
UNIFY = "+path:models/unify +path:models/collect watermark"


@dataclass(frozen=True)
class Warehouse:
    """A built warehouse and what the tests ask of it."""

    database: str

    def rows(self, query: str, *parameters: Any) -> list[Row]:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            return connection.execute(query, parameters).fetchall()

    def profile_id(self, identifier_type: str, value: str) -> uuid.UUID | None:
        """The profile that an identifier leads to."""
        [row] = self.rows(
            "select profile_id from unify.identifiers"
            " where identifier_type = %s and identifier_value = %s",
            identifier_type,
            value,
        )
        return row["profile_id"]  # type: ignore[no-any-return]

    def profile(self, identifier_type: str, value: str) -> Row:
        """The profile that an identifier leads to, as unify.profiles has it."""
        [row] = self.rows(
            "select * from unify.profiles where profile_id = %s",
            self.profile_id(identifier_type, value),
        )
        return row


@pytest.fixture(scope="module")
def warehouse(request: pytest.FixtureRequest, module_database: str) -> Warehouse:
    """The module's EVENTS, each in a transaction of its own, built as of the module's AS_OF."""
    with psycopg.connect(module_database, autocommit=True) as connection:
        for event in request.module.EVENTS:
            land(connection, [event])
    build(module_database, select=UNIFY, as_of=request.module.AS_OF)
    return Warehouse(module_database)


@pytest.fixture
def weak_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the key of an identifier its length, so that two with one key are easy to find."""
    macro = parsed_manifest().macros["macro.cdp.postgres__identifier_key"]
    weak = (
        "{% macro postgres__identifier_key(type, value) %}length({{ value }})::bigint{% endmacro %}"
    )
    monkeypatch.setattr(macro, "macro_sql", weak)
