"""docs/audiences.md is true: each row of its tables is run."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from cdp.audience_rules import compile_audiences
from cdp.settings import PROJECT_DIR
from tests.segment.evaluator import Person, Question, matches
from tests.segment.generated_rules import AS_OF
from tests.segment.people import members, person, save

PAGE = (PROJECT_DIR / "docs" / "audiences.md").read_text()
SPENDERS = {"min_total_spend": 100}


def rows(columns: int) -> Iterator[list[str]]:
    """Cells of the rows whose first cell is JSON, in tables of so many columns."""
    for line in PAGE.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        if line.startswith("| `{") and len(cells) == columns:
            yield cells


MATCHES = list(rows(3))
REFUSED = list(rows(2))


def documented_person(number: int, text: str) -> Person:
    told: dict[str, Any] = json.loads(text)
    events = [
        {**event, "event_type": event["name"], "occurred_at": datetime.fromisoformat(event["at"])}
        for event in told.pop("events", [])
    ]
    attributes = {
        name: datetime.fromisoformat(value) if name.endswith("_at") else value
        for name, value in told.items()
    }
    return person(number, attributes, events)


def test_the_page_has_its_tables() -> None:
    assert len(MATCHES) > 60
    assert len(REFUSED) > 10
    assert {cells[2] for cells in MATCHES} == {"yes", "no"}


def test_every_documented_match_is_what_the_sql_and_the_evaluator_say(rule_tables: str) -> None:
    people = [documented_person(number, cells[1]) for number, cells in enumerate(MATCHES)]
    rules = {f"row_{number}": cells[0] for number, cells in enumerate(MATCHES)}
    with psycopg.connect(rule_tables) as connection:
        save(connection, people)
        found = members(connection, {"spenders": json.dumps(SPENDERS), **rules}, AS_OF)
    question = Question(AS_OF, {"spenders": SPENDERS})
    wrong = [
        cells
        for number, (cells, subject) in enumerate(zip(MATCHES, people, strict=True))
        for expected in [cells[2] == "yes"]
        if (subject.profile_id in found[f"row_{number}"]) != expected
        or matches(json.loads(cells[0]), subject, question) != expected
    ]
    assert wrong == []


@pytest.mark.parametrize(("definition", "path"), REFUSED)
def test_every_documented_mistake_is_refused_there(definition: str, path: str) -> None:
    problems = compile_audiences({"a": definition}, "now()")["a"].problems
    assert [problem.path for problem in problems] == [path]


def test_the_page_names_every_operator_that_the_compiler_knows() -> None:
    sources = (PROJECT_DIR / "dbt_project" / "macros" / "audience_rules").glob("*.sql")
    known = {name for path in sources for name in re.findall(r"'(\$[a-zA-Z_]+)'", path.read_text())}
    assert len(known) > 25
    assert {name for name in known if name not in PAGE} == set()
