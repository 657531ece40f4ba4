"""An audience definition in words, for people who do not read JSON; docs/audiences.md has it all.

It never fails: what it does not know is shown as it stands, and the compiler says what is wrong.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GROUPS = {
    "$and": "all of these hold",
    "$or": "at least one of these holds",
    "$nor": "none of these holds",
}
COMPARISONS = {
    "$eq": "is",
    "$ne": "is not",
    "$gt": "is more than",
    "$gte": "is at least",
    "$lt": "is less than",
    "$lte": "is at most",
    "$in": "is one of",
    "$nin": "is none of",
    "$contains": "contains",
    "$starts_with": "starts with",
    "$ends_with": "ends with",
    "$regex": "matches the pattern",
    "$all": "has all of",
    "$before": "is before",
    "$after": "is after",
}
MEASURES = {
    "sum": "the sum of {} over them",
    "min": "the least {} among them",
    "max": "the greatest {} among them",
}


@dataclass(frozen=True)
class Phrase:
    """A condition in words; where it is a group, its conditions follow as parts."""

    text: str
    parts: Sequence["Phrase"] = ()


def describe(definition: str) -> Phrase:
    """The definition (JSON text) in words."""
    try:
        phrase = _rule(json.loads(definition))
    except ValueError:
        return Phrase("Not valid JSON.")
    except RecursionError:
        return Phrase("Nested too deeply to be told.")
    return Phrase(phrase.text[:1].upper() + phrase.text[1:], phrase.parts)


def _rule(rule: Any) -> Phrase:
    if not isinstance(rule, Mapping) or not rule:
        return Phrase(_value(rule))
    parts = [part for key, value in rule.items() for part in _clause(str(key), value)]
    return parts[0] if len(parts) == 1 else Phrase(GROUPS["$and"], parts)


def _clause(key: str, value: Any) -> list[Phrase]:
    if key in GROUPS and isinstance(value, list):
        return [Phrase(GROUPS[key], [_rule(each) for each in value])]
    if key in SPECIAL and isinstance(value, SPECIAL[key][0]):
        return [SPECIAL[key][1](value)]
    for prefix, comparison in (("min_", "$gte"), ("max_", "$lte")):
        if key.startswith(prefix):
            key, value = key.removeprefix(prefix), {comparison: value}
    if isinstance(value, Mapping) and any(str(each).startswith("$") for each in value):
        return [
            Phrase(_comparison(_name(key), str(operator), operand, value))
            for operator, operand in value.items()
            if operator != "$options"
        ]
    return [Phrase(f"{_name(key)} is {_value(value)}")]


def _comparison(name: str, operator: str, operand: Any, beside: Mapping[str, Any]) -> str:
    if operator in PHRASES:
        return PHRASES[operator](name, operand)
    case = ", whatever the case" if operator == "$regex" and beside.get("$options") == "i" else ""
    return f"{name} {COMPARISONS.get(operator, operator)} {_value(operand)}{case}"


def _never(name: str, operand: Any) -> str:
    inner = operand if isinstance(operand, Mapping) else {"$eq": operand}
    told = " and ".join(_comparison(name, str(key), each, inner) for key, each in inner.items())
    return f"it is not so that {told}"


def _item(rule: Any) -> str:
    if isinstance(rule, Mapping) and all(str(key) in COMPARISONS for key in rule):
        return " and ".join(_comparison("it", str(key), each, rule) for key, each in rule.items())
    return _inline(_rule(rule))


def _not(rule: Any) -> Phrase:
    inner = _rule(rule)
    return Phrase("it is not so that", [inner])


def _bucket(bucket: Mapping[str, Any]) -> Phrase:
    span = f"from {bucket.get('from')} to {bucket.get('to')} %"
    return Phrase(f"falls into the stable share {span} of the split {_value(bucket.get('split'))}")


def _event(event: Mapping[str, Any]) -> Phrase:
    told = f"events named {_value(event.get('name'))}"
    if "where" in event:
        told += f", for which {_inline(_rule(event['where']))}"
    if "within_days" in event:
        told += f", in the last {_days(event['within_days'])}"
    asked = []
    if "count" in event:
        asked += [each.text for each in _clause("their number", event["count"])]
    for measure, words in MEASURES.items():
        for path, bounds in _mapping(event.get(measure)).items():
            asked += [each.text for each in _clause(words.format(_name(str(path))), bounds)]
    return Phrase(f"{told}: {' and '.join(asked) or 'at least one'}")


def _sequence(sequence: Mapping[str, Any]) -> Phrase:
    steps = sequence.get("steps")
    told = ", then ".join(
        _value(step.get("name"))
        + (f" (for which {_inline(_rule(step['where']))})" if "where" in step else "")
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, Mapping)
    )
    if "span_days" in sequence:
        told += f", from the first to the last within {_days(sequence['span_days'])}"
    if "within_days" in sequence:
        told += f", all in the last {_days(sequence['within_days'])}"
    return Phrase(f"one after the other: {told}")


SPECIAL: dict[str, tuple[type[Any], Callable[[Any], Phrase]]] = {
    "$not": (object, _not),
    "$audience": (object, lambda key: Phrase(f"belongs to the audience {_value(key)}")),
    "$bucket": (Mapping, _bucket),
    "$event": (Mapping, _event),
    "$sequence": (Mapping, _sequence),
    "days_since_last_event": (
        object,
        lambda days: Phrase(f"the last event was at most {_value(days)} x 24 hours ago"),
    ),
}
PHRASES: dict[str, Callable[[str, Any], str]] = {
    "$exists": lambda name, wanted: f"{name} is {'known' if wanted else 'not known'}",
    "$size": lambda name, size: f"{name} has {_value(size)} items",
    "$within_days": lambda name, days: (
        f"{name} is within the last {_days(days)}, today included (UTC)"
    ),
    "$not_within_days": lambda name, days: (
        f"{name} is not within the last {_days(days)} (UTC), or never was"
    ),
    "$not": _never,
    "$elemMatch": lambda name, rule: f"{name} has an item for which {_item(rule)}",
}


def _inline(phrase: Phrase) -> str:
    if not phrase.parts:
        return phrase.text
    joined = "; ".join(_inline(each) for each in phrase.parts)
    return f"{phrase.text}: {joined}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _name(key: str) -> str:
    if "." in key:
        return key
    return key.replace("_30d", " in 30 days").removesuffix("_at").replace("_", " ")


def _days(count: Any) -> str:
    return "1 day" if count == 1 else f"{_value(count)} days"


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        return ", ".join(_value(each) for each in value) or "nothing"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return json.dumps(value, ensure_ascii=False)
