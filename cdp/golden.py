"""The golden files: exact rows of the public tables of unify, from events refreshed in batches.

`seeds/golden/README.md` says what is in them. They name no warehouse; each is held to the same.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from cdp.settings import PROJECT_DIR

FOLDER = PROJECT_DIR / "seeds" / "golden"
# One batch of events before each.
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

Row = dict[str, Any]


def batch_of_events(batch: int) -> list[Row]:
    """Segment-shaped events of a batch, numbered from 1, in the order of landing."""
    return _lines(f"events_{batch}")


def expected_rows(table: str) -> list[Row]:
    """What a table of unify holds after the last batch."""
    return _lines(f"expected/{table}")


def as_golden(table: str, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Row]:
    """The rows of one of `tables`, by name, in the form and order of its golden file."""
    rows = [dict(row) for row in tables[table]]
    if table == "profile_changes":
        runs = sorted({row["run"] for row in rows})
        messages = {row["event_id"]: row["message_id"] for row in tables["events"]}
        # The first refresh changes nothing: there was nothing before.
        rows = [
            {"batch": runs.index(row["run"]) + 2, **row, "evidence": messages.get(row["evidence"])}
            for row in rows
        ]
    plain = [
        {name: _as_plain(value) for name, value in row.items() if name not in INTERNAL}
        for row in rows
    ]
    return sorted(plain, key=lambda row: [row[name] for name in TABLES[table]])


def _lines(name: str) -> list[Row]:
    return [json.loads(line) for line in (FOLDER / f"{name}.ndjson").read_text().splitlines()]


def _as_plain(value: Any) -> Any:
    """A value as the golden files write it, whichever warehouse it comes from."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, UUID) else value
