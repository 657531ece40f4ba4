"""The rule language as a JSON Schema, for editors and for programs that write definitions.

It accepts everything that the compiler accepts. What it cannot say (cycles of audiences, dates that
do not exist, regular expressions that a warehouse would refuse) only the compiler says.
"""

from typing import Any

from cdp.audience_rules import profile_attribute_kinds

Schema = dict[str, Any]
DAYS: Schema = {"type": "integer", "minimum": 1, "maximum": 36500}
INSTANT: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[-+]\d{2}:\d{2}))?$",
}
VALUES: dict[str, Schema] = {
    "number": {"type": "number"},
    "text": {"type": "string"},
    "boolean": {"type": "boolean"},
    "timestamp": INSTANT,
    "json": {"type": ["string", "number", "boolean"]},
}
ORDERED = ("$gt", "$gte", "$lt", "$lte")
TEXTUAL = ("$contains", "$starts_with", "$ends_with")


def audience_schema() -> Schema:
    """The schema of one definition, made of the attributes that profiles have."""
    kinds = profile_attribute_kinds()
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    attributes = {name: {"$ref": f"#/$defs/{kind}"} for name, kind in kinds.items()}
    bounds = {f"{side}_{name}": VALUES["number"] for name in numbers for side in ("min", "max")}
    own = {
        "days_since_last_event": DAYS,
        "$event": {"$ref": "#/$defs/event"},
        "$sequence": {"$ref": "#/$defs/sequence"},
        "$audience": {"type": "string", "description": "Key of another audience."},
        "$bucket": {"$ref": "#/$defs/bucket"},
    }
    json_columns = "|".join(name for name, kind in kinds.items() if kind == "json")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Audience definition",
        "description": "See docs/audiences.md.",
        "$ref": "#/$defs/rule",
        "$defs": {
            "rule": _rule("rule", {**attributes, **bounds, **own}, f"^({json_columns})\\..+$"),
            "event_rule": _rule(
                "event_rule",
                {
                    "occurred_at": {"$ref": "#/$defs/timestamp"},
                    "properties": {"$ref": "#/$defs/json"},
                    "context": {"$ref": "#/$defs/json"},
                },
                r"^(properties|context)\..+$",
            ),
            "item_rule": _rule("item_rule", {}, r"^[^$].*$"),
            "event": _object(
                {
                    "name": {"type": "string", "minLength": 1},
                    "where": {"$ref": "#/$defs/event_rule"},
                    "within_days": DAYS,
                    "count": {"$ref": "#/$defs/number"},
                    "sum": {"$ref": "#/$defs/aggregates"},
                    "min": {"$ref": "#/$defs/aggregates"},
                    "max": {"$ref": "#/$defs/aggregates"},
                },
                required=["name"],
            ),
            "aggregates": {
                "type": "object",
                "minProperties": 1,
                "patternProperties": {r"^(properties|context)\..+$": {"$ref": "#/$defs/number"}},
                "additionalProperties": False,
            },
            "sequence": _object(
                {
                    "steps": {
                        "type": "array",
                        "minItems": 2,
                        "maxItems": 10,
                        "items": _object(
                            {
                                "name": {"type": "string", "minLength": 1},
                                "where": {"$ref": "#/$defs/event_rule"},
                                "within_days": DAYS,
                            },
                            required=["name"],
                        ),
                    },
                    "span_days": DAYS,
                    "within_days": DAYS,
                },
                required=["steps"],
            ),
            "bucket": _object(
                {
                    "split": {"type": "string", "minLength": 1},
                    "from": {"type": "number", "minimum": 0, "maximum": 100},
                    "to": {"type": "number", "minimum": 0, "maximum": 100},
                },
                required=["split", "from", "to"],
            ),
            "plain_object": {"type": "object", "propertyNames": {"pattern": "^(?!\\$)"}},
            **{name: each for kind in VALUES for name, each in _conditions(kind).items()},
        },
    }


def _object(properties: Schema, required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _rule(name: str, properties: Schema, paths: str) -> Schema:
    """A rule whose keys are `properties`, or paths into JSON that match the pattern `paths`."""
    rules = {"type": "array", "minItems": 1, "items": {"$ref": f"#/$defs/{name}"}}
    return {
        "type": "object",
        "minProperties": 1,
        "properties": {
            "$and": rules,
            "$or": rules,
            "$nor": rules,
            "$not": {"$ref": f"#/$defs/{name}"},
            **properties,
        },
        "patternProperties": {paths: {"$ref": "#/$defs/json"}},
        "additionalProperties": False,
    }


def _conditions(kind: str) -> dict[str, Schema]:
    """For an attribute of this kind: what it is compared with, and the operators alone."""
    value = VALUES[kind]
    plain: Schema = {"anyOf": [value, {"type": "null"}]}
    if kind == "json":
        plain["anyOf"] += [{"type": "array"}, {"$ref": "#/$defs/plain_object"}]
    listed = {"type": "array", "minItems": 1, "items": plain}
    operators: Schema = {
        "$eq": plain,
        "$ne": plain,
        "$in": listed,
        "$nin": listed,
        "$exists": {"type": "boolean"},
        "$not": {"$ref": f"#/$defs/{kind}_operators"},
    }
    if kind != "boolean":
        operators |= dict.fromkeys(ORDERED, value)
    if kind in ("text", "json"):
        operators |= dict.fromkeys(TEXTUAL, VALUES["text"])
        operators |= {
            "$regex": {"type": "string", "maxLength": 500},
            "$options": {"enum": ["i", ""]},
        }
    if kind == "timestamp":
        operators |= {"$before": value, "$after": value, "$within_days": DAYS}
        operators |= {"$not_within_days": DAYS}
    if kind == "json":
        operators |= {
            "$all": listed,
            "$size": {"$ref": "#/$defs/number"},
            "$elemMatch": {
                "anyOf": [{"$ref": "#/$defs/item_rule"}, {"$ref": "#/$defs/json_operators"}]
            },
        }
    return {
        kind: {"anyOf": [plain, {"$ref": f"#/$defs/{kind}_operators"}]},
        f"{kind}_operators": {
            "type": "object",
            "minProperties": 1,
            "properties": operators,
            "additionalProperties": False,
            "dependentRequired": {"$options": ["$regex"]},
        },
    }
