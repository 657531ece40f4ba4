"""The rule language a second time, in plain Python over dictionaries: what the SQL must agree with.

Written from docs/audiences.md, not from the macros. It knows nothing of SQL and is slow.
"""

import hashlib
import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = Any
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$before": operator.lt,
    "$after": operator.gt,
    "$contains": lambda text, part: part in text,
    "$starts_with": str.startswith,
    "$ends_with": str.endswith,
}
OPPOSITES = {"$ne": "$eq", "$nin": "$in", "$not_within_days": "$within_days"}
MISSING = object()


@dataclass(frozen=True)
class Person:
    """A profile: its attributes by name (`traits` as JSON) and its events."""

    profile_id: str
    attributes: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Question:
    """What a rule is asked against: the instant, and the other audiences' rules by key."""

    as_of: datetime
    rules: Mapping[str, Json] = field(default_factory=dict)


def matches(rule: Json, person: Person, question: Question) -> bool:
    """Whether the rule holds for the person."""
    return all(_clause(key, value, person, question) for key, value in rule.items())


def _clause(key: str, value: Json, person: Person, question: Question) -> bool:  # noqa: PLR0911 - one per key
    match key:
        case "$and":
            return all(matches(rule, person, question) for rule in value)
        case "$or":
            return any(matches(rule, person, question) for rule in value)
        case "$nor":
            return not any(matches(rule, person, question) for rule in value)
        case "$not":
            return not matches(value, person, question)
        case "$audience":
            return matches(question.rules[value], person, question)
        case "$event":
            return _event(value, person, question)
        case "$sequence":
            return _sequence(value, person, question)
        case "$bucket":
            text = f"{value['split']}:{person.profile_id}"
            digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            return bool(value["from"] * 100 <= int(digest[:8], 16) % 10000 < value["to"] * 100)
        case "days_since_last_event":
            last = person.attributes["last_event_at"]
            return last is not None and last >= question.as_of - timedelta(hours=24 * value)
    if key.startswith(("min_", "max_")):
        bound = {"$gte" if key.startswith("min_") else "$lte": value}
        return _attribute([person.attributes[key[4:]]], bound, question.as_of)
    return _attribute(_reach_top(person.attributes, key), value, question.as_of)


def _reach_top(document: Mapping[str, Any], name: str) -> list[Any]:
    if name in document:
        return [document[name]]
    column, *keys = name.split(".")
    return _Path(document[column], keys)


class _Path(list[Any]):
    """The values that a path into JSON reaches; `exact` lies there without entering lists."""

    def __init__(self, document: Json, keys: Sequence[str]) -> None:
        super().__init__(_reach(document, keys))
        self.exact = document
        for key in keys:
            inside = isinstance(self.exact, dict) and key in self.exact
            self.exact = self.exact[key] if inside else MISSING


def _reach(value: Json, keys: Sequence[str]) -> Iterator[Json]:
    if not keys:
        yield value
        return
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and keys[0] in item:
            yield from _reach(item[keys[0]], keys[1:])


def _is_operators(value: Json) -> bool:
    return isinstance(value, dict) and bool(value) and next(iter(value)).startswith("$")


def _attribute(reached: list[Any], value: Json, as_of: datetime) -> bool:
    if not _is_operators(value):
        return _operator(reached, "$eq", value, as_of)
    return all(
        _regex(reached, operand, value.get("$options", ""))
        if name == "$regex"
        else _operator(reached, name, operand, as_of)
        for name, operand in value.items()
        if name != "$options"
    )


def _operator(  # noqa: PLR0911 - one per operator
    reached: list[Any], name: str, operand: Json, as_of: datetime
) -> bool:
    is_json = isinstance(reached, _Path)
    if name in OPPOSITES:
        return not _operator(reached, OPPOSITES[name], operand, as_of)
    match name:
        case "$not":
            return not _attribute(reached, operand, as_of)
        case "$in":
            return any(_operator(reached, "$eq", item, as_of) for item in operand)
        case "$all":
            return all(_operator(reached, "$eq", item, as_of) for item in operand)
        case "$exists":
            return (bool(reached) if is_json else reached[0] is not None) is operand
        case "$size":
            exact = reached.exact if isinstance(reached, _Path) else None
            size = len(exact) if isinstance(exact, list) else None
            return _attribute([size], operand, as_of)
        case "$elemMatch":
            exact = reached.exact if isinstance(reached, _Path) else None
            return isinstance(exact, list) and any(_item(item, operand, as_of) for item in exact)
        case "$within_days":
            today = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
            return reached[0] is not None and reached[0] >= today - timedelta(days=operand - 1)
    if name == "$eq" and operand is None:
        return not reached or any(value is None for value in _items(reached))
    if name == "$eq" and isinstance(operand, dict | list):
        return isinstance(reached, _Path) and _same_json(reached.exact, operand)
    values = _items(reached) if is_json else reached
    return any(_compare(name, value, operand) for value in values)


def _items(reached: Iterable[Any]) -> Iterator[Any]:
    for value in reached:
        yield from value if isinstance(value, list) else [value]


def _item(item: Json, operand: Json, as_of: datetime) -> bool:
    if _is_operators(operand) and next(iter(operand)) not in ("$and", "$or", "$nor"):
        return _attribute(_Path(item, []), operand, as_of)
    return _item_rule(item, operand, as_of)


def _item_rule(item: Json, rule: Json, as_of: datetime) -> bool:
    def clause(key: str, value: Json) -> bool:
        match key:
            case "$and":
                return all(_item_rule(item, part, as_of) for part in value)
            case "$or":
                return any(_item_rule(item, part, as_of) for part in value)
            case "$nor":
                return not any(_item_rule(item, part, as_of) for part in value)
            case "$not":
                return not _item_rule(item, value, as_of)
        return _attribute(_Path(item, key.split(".")), value, as_of)

    return all(clause(key, value) for key, value in rule.items())


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "text", datetime: "timestamp"}.get(type(value), "other")


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _compare(name: str, value: Any, operand: Any) -> bool:
    if isinstance(value, datetime):
        operand = _instant(operand)
    return _kind(value) == _kind(operand) != "other" and COMPARISONS[name](value, operand)


def _same_json(left: Json, right: Json) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            _same_json(left[key], right[key]) for key in left
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same_json, left, right))
    return _kind(left) == _kind(right) and left == right


def _regex(reached: list[Any], pattern: str, options: str) -> bool:
    values = _items(reached) if isinstance(reached, _Path) else reached
    flags = re.IGNORECASE if options else 0
    return any(isinstance(each, str) and bool(re.search(pattern, each, flags)) for each in values)


def _happened(value: Json, person: Person, question: Question) -> list[Mapping[str, Any]]:
    def counts(event: Mapping[str, Any]) -> bool:
        if event["event_type"] != value["name"] or event["occurred_at"] > question.as_of:
            return False
        days = value.get("within_days")
        if days and not _operator([event["occurred_at"]], "$within_days", days, question.as_of):
            return False
        subject = Person(person.profile_id, event)
        return matches(value["where"], subject, question) if "where" in value else True

    return [event for event in person.events if counts(event)]


def _event(value: Json, person: Person, question: Question) -> bool:
    happened = _happened(value, person, question)
    results = []
    if "count" in value or not value.keys() & {"sum", "min", "max"}:
        comparison = value.get("count", {"$gte": 1})
        results.append(_attribute([len(happened)], comparison, question.as_of))
    for name, aggregate in (("sum", sum), ("min", min), ("max", max)):
        for path, comparison in value.get(name, {}).items():
            reached = [_reach_top(event, path) for event in happened]
            exact = [each.exact for each in reached if isinstance(each, _Path)]
            numbers = [number for number in exact if _kind(number) == "number"]
            total = aggregate(numbers) if numbers else (0 if name == "sum" else None)
            results.append(_attribute([total], comparison, question.as_of))
    return all(results)


def _sequence(value: Json, person: Person, question: Question) -> bool:
    window = {"within_days": value["within_days"]} if "within_days" in value else {}
    steps = [_happened({**window, **step}, person, question) for step in value["steps"]]
    span = timedelta(days=value["span_days"]) if "span_days" in value else timedelta.max
    return any(
        all(earlier < later for earlier, later in itertools.pairwise(times))
        and times[-1] - times[0] <= span
        for events in itertools.product(*steps)
        for times in [[event["occurred_at"] for event in events]]
    )
