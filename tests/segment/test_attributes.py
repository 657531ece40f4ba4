"""What rules may talk about is what unify.profiles promises."""

import yaml

from cdp.audience_rules import profile_attribute_kinds
from cdp.settings import PROJECT_DIR

KINDS = {
    "text": "text",
    "bigint": "number",
    "integer": "number",
    "numeric": "number",
    "boolean": "boolean",
    "timestamptz": "timestamp",
    "jsonb": "json",
}


def test_the_attributes_of_rules_are_the_columns_of_the_profiles_contract() -> None:
    contract = yaml.safe_load(
        (PROJECT_DIR / "dbt_project" / "models" / "unify" / "unify.yml").read_text()
    )
    (profiles,) = (model for model in contract["models"] if model["name"] == "profiles")
    columns = {column["name"]: column["data_type"] for column in profiles["columns"]}
    del columns["profile_id"]  # a key; $bucket is how a rule may use it
    assert profile_attribute_kinds() == {name: KINDS[kind] for name, kind in columns.items()}
