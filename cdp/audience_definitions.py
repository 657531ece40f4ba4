"""Where audiences are defined: seeds/audiences.csv, and what POST /audiences has stored."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cdp.errors import UserError
from cdp.settings import PROJECT_DIR

SEED = PROJECT_DIR / "seeds" / "audiences.csv"
SENT = """
select distinct on (audience_key) audience_key, definition, is_enabled
from raw.audience_definitions
order by audience_key, definition_id desc
"""


@dataclass(frozen=True)
class Defined:
    """A definition as JSON text, and whether the audience is evaluated at all."""

    definition: str
    is_enabled: bool


def seeded_audiences(path: Path = SEED) -> dict[str, Defined]:
    """The audiences of the file by key, as it says now, refreshed or not.

    Raises UserError when the file is not a table with the columns that are needed.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {
            row["audience_key"]: Defined(
                row["definition"], row["is_enabled"].strip().lower() in ("true", "t", "1", "yes")
            )
            for row in rows
        }
    except (KeyError, AttributeError) as error:
        raise UserError(
            f"{path.name} lacks {error} in a row; the README names its columns."
        ) from error


def defined_audiences(connection: psycopg.Connection[Any]) -> Mapping[str, Defined]:
    """Every definition as the next refresh will know it: what is in git wins."""
    sent = {
        str(key): Defined(str(definition), bool(is_enabled))
        for key, definition, is_enabled in connection.execute(SENT)
    }
    return {**sent, **seeded_audiences()}
