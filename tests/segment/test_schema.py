"""The JSON Schema accepts what the compiler accepts, and refuses mistakes of form."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator

from cdp.audience_definitions import seeded_audiences
from cdp.audience_schema import audience_schema
from cdp.settings import PROJECT_DIR
from tests.segment.generated_rules import rules
from tests.segment.test_documented_semantics import MATCHES, REFUSED

VALIDATOR = Draft202012Validator(audience_schema())
# What only the compiler can tell, or JSON's own reader hides.
BEYOND_FORM = {
    '{"email": {"$regex": "("}}',
    '{"last_event_at": {"$before": "2026-02-30"}}',
    '{"$audience": "nobody"}',
    '{"total_spend": 1, "total_spend": 2}',
}


def test_the_file_in_the_repository_is_the_schema() -> None:
    path = PROJECT_DIR / "docs" / "audience_definition.schema.json"
    assert json.loads(path.read_text()) == audience_schema()


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(audience_schema())


@pytest.mark.parametrize(
    "definition",
    [*(cells[0] for cells in MATCHES), *(each.definition for each in seeded_audiences().values())],
)
def test_a_definition_that_works_is_valid(definition: str) -> None:
    assert list(VALIDATOR.iter_errors(json.loads(definition))) == []


@pytest.mark.parametrize("definition", [cells[0] for cells in REFUSED])
def test_a_mistake_of_form_is_invalid(definition: str) -> None:
    assert VALIDATOR.is_valid(json.loads(definition)) == (definition in BEYOND_FORM)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rule=rules())
def test_every_random_rule_is_valid(rule: Any) -> None:
    assert list(VALIDATOR.iter_errors(rule)) == []
