"""The golden files: exact rows of the five public tables, from events refreshed in three batches.

`seeds/golden/README.md` says what is in them. They name no warehouse; BigQuery is held to the same.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from cdp.settings import PROJECT_DIR
from tests.unify.conftest import UNIFY, Row, Warehouse
from tests.warehouse import build, land

GOLDEN = PROJECT_DIR / "seeds" / "golden"
REFRESHED_AT = ("2026-03-10T12:00:00Z", "2026-03-20T12:00:00Z", "2026-04-01T12:00:00Z")
# What each file is sorted by.
TABLES = {
    "profiles": ("primary_identifier",),
    "events": ("message_id",),
    "sessions": ("started_at", "session_id"),
    "identifiers": ("identifier_type", "identifier_value"),
    "profile_changes": ("batch", "old_profile_id", "profile_id"),
}
# A 64-bit key and a transaction id differ between warehouses; `batch` counts the runs instead.
INTERNAL = ("identifier_key", "run")


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    with psycopg.connect(module_database, autocommit=True) as connection:
        for batch, refreshed_at in enumerate(REFRESHED_AT, start=1):
            for line in (GOLDEN / f"events_{batch}.ndjson").read_text().splitlines():
                land(connection, [json.loads(line)])
            command = "build" if batch == 1 else "run"
            build(module_database, select=UNIFY, as_of=refreshed_at, command=command)
    return module_database


def as_plain(value: Any) -> Any:
    """A value as the golden files write it, whichever warehouse it comes from."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, UUID) else value


def golden(table: str) -> list[Row]:
    lines = (GOLDEN / "expected" / f"{table}.ndjson").read_text().splitlines()
    return [json.loads(line) for line in lines]


def built(database: str, table: str) -> list[Row]:
    rows: list[Row] = Warehouse(database).rows(f"select * from unify.{table}")
    if table == "profile_changes":
        runs = sorted({row["run"] for row in rows})
        messages = {
            row["event_id"]: row["message_id"]
            for row in Warehouse(database).rows("select event_id, message_id from unify.events")
        }
        # The first refresh changes nothing: there was nothing before.
        rows = [
            {"batch": runs.index(row["run"]) + 2, **row, "evidence": messages.get(row["evidence"])}
            for row in rows
        ]
    plain = [
        {name: as_plain(value) for name, value in row.items() if name not in INTERNAL}
        for row in rows
    ]
    return sorted(plain, key=lambda row: [row[name] for name in TABLES[table]])


@pytest.mark.parametrize("table", TABLES)
def test_refreshes_in_batches_give_the_golden_rows(database: str, table: str) -> None:
    assert built(database, table) == golden(table)


def test_a_full_refresh_gives_the_golden_rows(database: str) -> None:
    """Runs last: it builds all anew. The changes are history and stay as the batches made them."""
    build(database, select=UNIFY, as_of=REFRESHED_AT[-1], full_refresh=True, command="run")
    for table in TABLES:
        assert built(database, table) == golden(table), table
