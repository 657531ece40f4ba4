"""The compiled SQL and an independent evaluator give the same members."""

import json
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.segment.evaluator import Person, Question, matches
from tests.segment.generated_rules import AS_OF, REFERENCED, people, rules
from tests.segment.people import members, save


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(everyone=people(), batch=st.lists(rules(), min_size=15, max_size=15))
def test_sql_and_the_evaluator_agree_on_random_rules(
    rule_tables: str, everyone: list[Person], batch: list[Any]
) -> None:
    definitions = REFERENCED | {f"random_{number}": rule for number, rule in enumerate(batch)}
    question = Question(AS_OF, REFERENCED)
    with psycopg.connect(rule_tables) as connection:
        save(connection, everyone)
        texts = {key: json.dumps(rule) for key, rule in definitions.items()}
        found = members(connection, texts, AS_OF)
    for key, rule in definitions.items():
        expected = {each.profile_id for each in everyone if matches(rule, each, question)}
        assert found[key] == expected, rule
