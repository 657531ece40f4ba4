"""Rows of both engines in one form, so that tables can be compared."""

import json
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

# Public tables, and their columns that count runs and not facts.
TABLES: Mapping[str, Collection[str]] = {
    "collect.daily_intake": (),
    "unify.profiles": (),
    "unify.events": (),
    "unify.sessions": (),
    "unify.identifiers": (),
    "unify.profile_changes": ("run",),
    "unify.unusable_amounts": (),
    "unify.missing_exchange_rates": (),
    "segment.audiences": (),
    "segment.audience_members": (),
    "segment.audience_changes": (),
}


def comparable(rows: Iterable[Mapping[str, Any]], left_out: Collection[str] = ()) -> list[str]:
    """The rows as sorted lines of JSON, without the columns `left_out`."""
    return sorted(
        json.dumps({name: _plain(row[name]) for name in sorted(row) if name not in left_out})
        for row in rows
    )


def _plain(value: Any) -> Any:
    """A value as both clients would give it: the types of numbers and of ids differ."""
    match value:
        case bool() | None:
            return value
        case int() | float() | Decimal():
            return format(Decimal(str(value)).normalize(), "f")
        case dict():
            return {key: _plain(value[key]) for key in sorted(value)}
        case list():
            return [_plain(each) for each in value]
        case UUID() | str():
            return str(value)
        case _:
            return value.isoformat()
