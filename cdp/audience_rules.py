"""The rule language's dbt macros, rendered without dbt: for previews, decisions and `cdp audience`.

There is one compiler, the macros under `dbt_project/macros/audience_rules`. dbt renders it for the
batch; this module renders the same files with plain Jinja, so that a preview or a decision can
never mean something else than the batch.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, Literal

from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from cdp.settings import PROJECT_DIR

Warehouse = Literal["postgres", "bigquery"]
MACROS = PROJECT_DIR / "dbt_project" / "macros"


@dataclass(frozen=True)
class RuleProblem:
    """What is wrong with a definition, and where in it: `$and[0].total_spend.$gte`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'definition'}: {self.message}"


@dataclass(frozen=True)
class CompiledAudience:
    """A definition as SQL.

    `predicate` is boolean SQL over the relation `profiles` and the CTEs that measures and sequences
    become; it is `false` where there are problems. `horizons` are where time alone changes answers.
    """

    audience_key: str
    predicate: str
    measures: Mapping[str, str]
    sequences: Mapping[str, Any]
    events_read: Sequence[Mapping[str, Any]]
    horizons: Sequence[Mapping[str, Any]]
    problems: tuple[RuleProblem, ...]


@dataclass(frozen=True)
class Signal:
    """One condition of a decision rule: SQL of whether it held, and SQL of what it looked at."""

    side: Literal["warehouse", "session"]
    attribute: str
    operator: str
    threshold: Any
    predicate: str
    value: str


@dataclass(frozen=True)
class CompiledDecisionRule:
    """A decision rule's condition as SQL over `profiles`, `request`, `membership` and behaviour."""

    predicate: str
    signals: tuple[Signal, ...]
    measures: Mapping[str, str]
    sequences: Mapping[str, Any]
    events_read: Sequence[Mapping[str, Any]]
    problems: tuple[RuleProblem, ...]


def profile_attribute_kinds() -> dict[str, str]:
    """Kind (number, text, boolean, timestamp, json) by name of what rules may use."""
    return dict(_macros("postgres")["profile_attribute_kinds"]())


def compile_audiences(
    definitions: Mapping[str, str], as_of: str, warehouse: Warehouse = "postgres"
) -> dict[str, CompiledAudience]:
    """Compile definitions (JSON text by audience key), which may name one another in `$audience`.

    `as_of` is SQL of the instant that windows count back from. Never raises for a wrong definition:
    its problems are in the result.
    """
    rows = [{"audience_key": key, "definition": text} for key, text in definitions.items()]
    compiled = _macros(warehouse)["compile_audiences"](rows, as_of)
    return {
        key: CompiledAudience(
            audience_key=key,
            predicate=each["predicate"],
            measures=each["measures"],
            sequences=each["sequences"],
            events_read=each["events_read"],
            horizons=each["horizons"],
            problems=_problems(each),
        )
        for key, each in compiled.items()
    }


def matching_audiences_sql(
    audiences: Mapping[int, CompiledAudience],
    as_of: str,
    profiles: str = "unify.profiles",
    events: str = "unify.events",
    warehouse: Warehouse = "postgres",
) -> str:
    """A query with one row per profile: profile_id, audience_ids (of the audiences it is in)."""
    rows = [{"audience_id": number} | _parts(each) for number, each in audiences.items()]
    return str(_macros(warehouse)["matching_audiences_sql"](rows, profiles, events, as_of))


def audience_members_sql(
    audience: CompiledAudience,
    as_of: str,
    profiles: str = "unify.profiles",
    events: str = "unify.events",
    warehouse: Warehouse = "postgres",
) -> str:
    """A query with one row per member: profile_id."""
    macro = _macros(warehouse)["audience_members_sql"]
    return str(macro(_parts(audience), profiles, events, as_of))


def profiles_moved_by_time_sql(
    audiences: Sequence[CompiledAudience],
    earlier: str,
    later: str,
    *,
    warehouse: Warehouse = "postgres",
) -> str:
    """A query: profile_id of each profile that time alone may have moved between two instants."""
    horizons = [horizon for audience in audiences for horizon in audience.horizons]
    macro = _macros(warehouse)["profiles_moved_by_time"]
    return str(macro(horizons, "unify.profiles", "unify.events", earlier, later))


def compile_decision_rule(
    condition: str | None, audience_keys: Sequence[str], as_of: str
) -> CompiledDecisionRule:
    """Compile a decision rule's condition: JSON text, or None, which always holds."""
    compiled = _macros("postgres")["compile_decision_rule"](condition, audience_keys, as_of)
    return CompiledDecisionRule(
        predicate=compiled["predicate"],
        signals=tuple(Signal(**signal) for signal in compiled["signals"]),
        measures=compiled["measures"],
        sequences=compiled["sequences"],
        events_read=compiled["events_read"],
        problems=_problems(compiled),
    )


def behaviour_sql(
    rules: Sequence[CompiledAudience | CompiledDecisionRule], events: str, as_of: str
) -> tuple[str, str]:
    """What the predicates of `rules` read about events.

    CTEs, each followed by a comma, and the joins that follow `from profiles`.
    """
    needed: dict[str, Any] = {"measures": {}, "sequences": {}, "events_read": []}
    for rule in rules:
        needed["measures"].update(rule.measures)
        needed["sequences"].update(rule.sequences)
        needed["events_read"].extend(rule.events_read)
    macros = _macros("postgres")
    return (
        str(macros["behaviour_ctes"](needed, events, as_of)),
        str(macros["behaviour_joins"](needed)),
    )


def events_read_sql(rules: Sequence[CompiledAudience | CompiledDecisionRule], as_of: str) -> str:
    """The condition on `events` that admits all that `rules` read; empty when they read none."""
    read = [each for rule in rules for each in rule.events_read]
    for rule in rules:
        for sequence in rule.sequences.values():
            read.extend(sequence["events_read"])
    return str(_macros("postgres")["events_read_sql"](read, as_of)) if read else ""


def text_literal(text: str) -> str:
    """SQL (PostgreSQL) of a text."""
    return str(_macros("postgres")["text_literal"](text))


def _parts(audience: CompiledAudience) -> dict[str, Any]:
    return {
        "predicate": audience.predicate,
        "measures": audience.measures,
        "sequences": audience.sequences,
        "events_read": audience.events_read,
    }


def _problems(compiled: Mapping[str, Any]) -> tuple[RuleProblem, ...]:
    return tuple(RuleProblem(**error) for error in compiled["errors"])


class _Returned(BaseException):  # not an Exception, so that no macro can swallow it
    """Carries the value of `return` out of a macro, as dbt does."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _return(value: Any) -> None:
    raise _Returned(value)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _local_md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _returning(macro: Callable[..., str]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return macro(*arguments, **named)
        except _Returned as returned:
            return returned.value

    return call


@cache
def _macros(warehouse: Warehouse) -> dict[str, Callable[..., Any]]:
    """The macros by name, behaving as in dbt: `return` hands back a Python value."""
    environment = SandboxedEnvironment(extensions=["jinja2.ext.do"], undefined=StrictUndefined)
    names: dict[str, Any] = dict(environment.globals)
    names.update(
        {
            "return": _return,
            "fromjson": _from_json,
            "tojson": json.dumps,
            "local_md5": _local_md5,
            "modules": {"re": re},
            "adapter": SimpleNamespace(dispatch=lambda name: names[f"{warehouse}__{name}"]),
        }
    )
    primitives = MACROS / "warehouse" / "rule_primitives.sql"
    for path in [primitives, *sorted((MACROS / "audience_rules").glob("*.sql"))]:
        # A prefix, as dbt gives them, so that a call looks the name up instead of binding here.
        source = re.sub(r"({%-?\s*macro\s+)", r"\1macro_", path.read_text())
        module = environment.from_string(source).make_module(names, shared=True)
        for name, macro in vars(module).items():
            if name.startswith("macro_"):
                names[name.removeprefix("macro_")] = _returning(macro)
    return names
