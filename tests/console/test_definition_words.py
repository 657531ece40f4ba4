"""Definitions in words: every part of the language is told, and nothing makes it fail."""

import csv
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdp.settings import PROJECT_DIR
from dagster_project.console.definition_words import Phrase, describe

DOCUMENTED = re.findall(
    r"^\| `(\{.*?\})` \|", (PROJECT_DIR / "docs" / "audiences.md").read_text(), re.MULTILINE
)


def flat(phrase: Phrase) -> str:
    return " / ".join([phrase.text, *(flat(part) for part in phrase.parts)])


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"total_spend": {"$gte": 1000}}, "Total spend is at least 1,000"),
        ({"min_total_spend": 100}, "Total spend is at least 100"),
        ({"spend_30d": {"$lt": 5}}, "Spend in 30 days is less than 5"),
        ({"email": None}, "Email is missing"),
        ({"email": {"$exists": False}}, "Email is not known"),
        ({"traits.plan": {"$in": ["gold", "iron"]}}, 'Traits.plan is one of "gold", "iron"'),
        (
            {"email": {"$regex": "a.b", "$options": "i"}},
            'Email matches the pattern "a.b", whatever the case',
        ),
        (
            {"last_order_at": {"$within_days": 1}},
            "Last order is within the last 1 day, today included (UTC)",
        ),
        ({"$not": {"$audience": "vip"}}, 'It is not so that / belongs to the audience "vip"'),
        (
            {"$or": [{"total_orders": 0}, {"email": "a"}]},
            'At least one of these holds / total orders is 0 / email is "a"',
        ),
        (
            {"$event": {"name": "Viewed", "within_days": 7, "count": {"$gte": 3}}},
            'Events named "Viewed", in the last 7 days: their number is at least 3',
        ),
        (
            {"$event": {"name": "Bought", "sum": {"properties.price": {"$gt": 9}}}},
            'Events named "Bought": the sum of properties.price over them is more than 9',
        ),
        (
            {"$sequence": {"steps": [{"name": "Viewed"}, {"name": "Bought"}], "span_days": 2}},
            'One after the other: "Viewed", then "Bought",'
            " from the first to the last within 2 days",
        ),
        (
            {"$bucket": {"split": "spring", "from": 0, "to": 10}},
            'Falls into the stable share from 0 to 10 % of the split "spring"',
        ),
    ],
)
def test_a_rule_is_told_in_words(definition: object, words: str) -> None:
    assert flat(describe(json.dumps(definition))) == words


def test_no_operator_of_the_documented_language_is_left_as_it_stands() -> None:
    assert len(DOCUMENTED) > 60
    with (PROJECT_DIR / "seeds" / "audiences.csv").open(newline="") as file:
        seeded = [row["definition"] for row in csv.DictReader(file)]
    understood = [text for text in DOCUMENTED + seeded if "$like" not in text]
    assert [text for text in understood if "$" in flat(describe(text))] == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "$and",
                    "$or",
                    "$not",
                    "$event",
                    "$sequence",
                    "$bucket",
                    "$elemMatch",
                    "$in",
                    "$within_days",
                    "name",
                    "steps",
                    "where",
                    "count",
                    "sum",
                    "email",
                    "min_x",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_nothing_that_is_json_makes_it_fail(definition: object) -> None:
    assert isinstance(flat(describe(json.dumps(definition))), str)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"$and": [' * 400 + "1" + "]}" * 400])
def test_what_is_no_definition_is_said_so(text: str) -> None:
    assert describe(text).text
