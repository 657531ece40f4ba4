"""Whoever time alone moves is among those that a refresh looks at again."""

import json
from datetime import timedelta
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import parse_one

from cdp.audience_rules import compile_audiences, profiles_moved_by_time_sql
from tests.segment.evaluator import Person
from tests.segment.generated_rules import AS_OF, REFERENCED, people, rules
from tests.segment.people import members, person, save

MICROSECOND = timedelta(microseconds=1)
# From one microsecond, over a midnight, to windows that begin and end in between.
SPANS = [
    MICROSECOND,
    timedelta(hours=1),
    timedelta(hours=15, minutes=30),
    timedelta(hours=15, minutes=30) + MICROSECOND,
    timedelta(days=1),
    timedelta(days=6, hours=20),
    timedelta(days=40),
]


def moved(
    connection: psycopg.Connection[Any], texts: dict[str, str], span: timedelta
) -> dict[str, set[str]]:
    """By audience, the profiles that would be looked at again after AS_OF - span."""
    earlier = f"timestamptz '{(AS_OF - span).isoformat()}'"
    later = f"timestamptz '{AS_OF.isoformat()}'"
    found = {}
    for key, audience in compile_audiences(texts, later).items():
        query = profiles_moved_by_time_sql([audience], earlier, later)
        found[key] = {str(row[0]) for row in connection.execute(query.encode())}
    return found


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    everyone=people(),
    batch=st.lists(rules(), min_size=10, max_size=10),
    span=st.sampled_from(SPANS),
)
def test_nobody_moves_in_time_without_being_looked_at(
    rule_tables: str, everyone: list[Person], batch: list[Any], span: timedelta
) -> None:
    definitions = REFERENCED | {f"random_{number}": rule for number, rule in enumerate(batch)}
    texts = {key: json.dumps(rule) for key, rule in definitions.items()}
    with psycopg.connect(rule_tables) as connection:
        save(connection, everyone)
        before = members(connection, texts, AS_OF - span)
        after = members(connection, texts, AS_OF)
        looked_at = moved(connection, texts, span)
    for key, rule in definitions.items():
        assert before[key] ^ after[key] <= looked_at[key], rule


def test_only_those_near_a_horizon_are_looked_at(rule_tables: str) -> None:
    def seen(days: float) -> dict[str, Any]:
        return {"last_event_at": AS_OF - timedelta(days=days)}

    def viewed(days: float, name: str = "Viewed") -> dict[str, Any]:
        return {"event_type": name, "occurred_at": AS_OF - timedelta(days=days)}

    everyone = [
        person(1, seen(29.9)),
        person(2, seen(30.05)),
        person(3, seen(30.2)),
        person(4, seen(1), [viewed(8.2)]),
        person(5, seen(1), [viewed(8.2, "Bought")]),
        person(6, seen(1), [viewed(3)]),
    ]
    texts = {
        "recent": '{"days_since_last_event": 30}',
        "not_recent": '{"$not": {"days_since_last_event": 30}}',
        "viewers": '{"$event": {"name": "Viewed", "within_days": 8}}',
        "rich": '{"min_total_spend": 1}',
    }
    with psycopg.connect(rule_tables) as connection:
        save(connection, everyone)
        an_hour = moved(connection, texts, timedelta(hours=2))
        a_day = moved(connection, texts, timedelta(days=1))
    second, fourth = everyone[1].profile_id, everyone[3].profile_id
    assert an_hour == {"recent": {second}, "not_recent": {second}, "viewers": set(), "rich": set()}
    assert a_day["viewers"] == {fourth}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(rules(), min_size=10, max_size=10))
def test_the_question_is_bigquery_syntax_too(batch: list[Any]) -> None:
    texts = {f"random_{number}": json.dumps(rule) for number, rule in enumerate(batch)}
    referenced = {key: json.dumps(rule) for key, rule in REFERENCED.items()}
    instant = "timestamp '2026-03-10T15:30:00Z'"
    audiences = compile_audiences({**referenced, **texts}, instant, "bigquery").values()
    query = profiles_moved_by_time_sql(list(audiences), instant, instant, warehouse="bigquery")
    parse_one(query, read="bigquery")
