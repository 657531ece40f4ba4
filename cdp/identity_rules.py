"""Who is one person: the rules of `identifier_types.csv` and `blocked_identifiers.csv`."""

import csv
from dataclasses import dataclass
from pathlib import Path

from cdp.errors import UserError
from cdp.settings import PROJECT_DIR

SEEDS = PROJECT_DIR / "seeds"
IDENTIFIER_TYPES = ("user_id", "email", "phone", "anonymous_id")


@dataclass(frozen=True)
class IdentifierType:
    """`max_user_ids`: seen with more of them, an identifier links nothing; None is no limit."""

    identifier_type: str
    priority: int
    max_user_ids: int | None


@dataclass(frozen=True)
class BlockedIdentifier:
    """Values of a type, or of all types (`*`), that match `pattern` as a whole identify nobody."""

    identifier_type: str
    pattern: str
    reason: str


@dataclass(frozen=True)
class IdentityRules:
    """All of them."""

    types: tuple[IdentifierType, ...]
    blocked: tuple[BlockedIdentifier, ...]


def seeded_rules(folder: Path = SEEDS) -> IdentityRules:
    """The rules as the files say now, refreshed or not. Raises UserError naming what is wrong."""
    types = tuple(
        IdentifierType(
            row["identifier_type"],
            _whole_number(row["priority"], f"priority of {row['identifier_type']}"),
            _whole_number(row["max_user_ids"], f"max_user_ids of {row['identifier_type']}")
            if row["max_user_ids"].strip()
            else None,
        )
        for row in _rows(folder / "identifier_types.csv")
    )
    if sorted(each.identifier_type for each in types) != sorted(IDENTIFIER_TYPES):
        found = ", ".join(each.identifier_type for each in types)
        raise UserError(
            f"seeds/identifier_types.csv has the types {found}; "
            f"give each of {', '.join(IDENTIFIER_TYPES)} once."
        )
    blocked = tuple(
        BlockedIdentifier(row["identifier_type"], row["pattern"], row["reason"])
        for row in _rows(folder / "blocked_identifiers.csv")
    )
    for each in blocked:
        if each.identifier_type not in (*IDENTIFIER_TYPES, "*"):
            raise UserError(
                f"seeds/blocked_identifiers.csv blocks {each.pattern!r} for the type "
                f"{each.identifier_type!r}; give one of {', '.join(IDENTIFIER_TYPES)} or *."
            )
    return IdentityRules(types, blocked)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _whole_number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(
            f"seeds/identifier_types.csv: {what} is {text!r}; give a whole number."
        ) from None
