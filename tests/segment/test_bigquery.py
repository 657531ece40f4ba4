"""What the rules compile to for BigQuery is BigQuery's syntax. Nothing executes it here."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import parse_one

from cdp.audience_rules import compile_audiences, matching_audiences_sql
from tests.segment.generated_rules import REFERENCED, rules
from tests.segment.test_documented_semantics import MATCHES, SPENDERS

AS_OF = "timestamp '2026-03-10T15:30:00Z'"


def parse_compiled(definitions: dict[str, str]) -> None:
    compiled = compile_audiences(definitions, AS_OF, "bigquery")
    assert [each.problems for each in compiled.values() if each.problems] == []
    query = matching_audiences_sql(dict(enumerate(compiled.values())), AS_OF, warehouse="bigquery")
    parse_one(query, read="bigquery")


def test_every_documented_rule_is_bigquery_syntax() -> None:
    rows = {f"row_{number}": cells[0] for number, cells in enumerate(MATCHES)}
    parse_compiled({"spenders": json.dumps(SPENDERS), **rows})


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(rules(), min_size=5, max_size=5))
def test_random_rules_are_bigquery_syntax(batch: list[Any]) -> None:
    numbered = {f"random_{number}": rule for number, rule in enumerate(batch)}
    parse_compiled({key: json.dumps(rule) for key, rule in {**REFERENCED, **numbered}.items()})
