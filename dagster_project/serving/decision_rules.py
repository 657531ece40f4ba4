"""The decision rules as one prepared statement, compiled by the macros of the audiences."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cdp.audience_rules import (
    CompiledDecisionRule,
    Signal,
    behaviour_sql,
    compile_decision_rule,
    profile_attribute_kinds,
)
from dagster_project.serving.database import Database
from dagster_project.serving.errors import unavailable
from dagster_project.serving.identity import IDENTIFIED

RULES = """
select
    rules.rule_key,
    rules.condition,
    rules.experience,
    rules.offer,
    rules.reason,
    pg_relation_filenode('decide.decision_rules')::bigint as stored_at
from decide.decision_rules as rules
order by rules.priority
"""
AUDIENCE_KEYS = "select audience_key from segment.audiences"
AS_OF = "(select batch.as_of from batch)"

# What an answer shows of the profile. Traits may hold anything and are left to GET /profiles.
SHOWN = (
    "email",
    "user_id",
    "anonymous_id",
    "first_seen_at",
    "last_seen_at",
    "last_event_at",
    "total_orders",
    "total_spend",
    "orders_30d",
    "spend_30d",
    "visit_count",
    "visits_30d",
    "average_order_value",
    "last_order_at",
)

# $5 is the context. One row always, whether the profile is known or not.
STATEMENT = """
with request as (select $5::jsonb as context),

batch as (select watermark.to_xid, watermark.as_of from decide.watermark),

identified as ({identified}),

profiles as (
    select identified.profile_id, {attributes}
    from (select 1) as always
    left join identified on true
    left join unify.profiles as known on identified.profile_id = known.profile_id
),

membership as (
    select
        coalesce(array_agg(audiences.audience_key order by audiences.audience_key), '{{}}')
            as audience_keys,
        coalesce(jsonb_object_agg(audiences.audience_key, audiences.built_version), '{{}}')
            as audience_versions
    from identified
    inner join segment.audience_members as members
        on identified.profile_id = members.profile_id
    inner join segment.audiences on members.audience_id = audiences.audience_id
),

{behaviour}
answers as (
    select
        profiles.profile_id::text as profile_id,
        jsonb_build_object({shown}) as profile,
        membership.audience_keys,
        membership.audience_versions,
        batch.as_of,
        array[{predicates}]::boolean[] as holds,
        array[{signals}]::boolean[] as signals_held,
        array[{values}]::jsonb[] as signal_values,
        pg_relation_filenode('decide.decision_rules')::bigint as stored_at
    from profiles
    cross join request
    cross join batch
    cross join membership
    {joins}
)

select * from answers
"""


@dataclass(frozen=True)
class DecisionRule:
    """One row of seeds/decision_rules.csv."""

    rule_key: str
    condition: str | None
    experience: str
    offer: str | None
    reason: str


@dataclass(frozen=True)
class DecisionRules:
    """The rules by priority, and the statement that tells which of them hold.

    `stored_at` changes whenever the table is written again; the statement reports it, so that rules
    that have changed are noticed without a question of their own. `version` is made of the rules.
    """

    rules: Sequence[DecisionRule]
    signals: Sequence[Signal]
    statement: str
    version: str
    stored_at: int


async def load_decision_rules(database: Database) -> DecisionRules:
    """Read and compile the rules. Raises RequestError (503) when they cannot decide everything."""
    rows = await database.rows(RULES)
    keys = [str(row["audience_key"]) for row in await database.rows(AUDIENCE_KEYS)]
    stored_at = int(rows[0]["stored_at"]) if rows else 0
    rules = [
        DecisionRule(**{name: value for name, value in row.items() if name != "stored_at"})
        for row in rows
    ]
    return compile_decision_rules(rules, keys, stored_at)


def compile_decision_rules(
    rules: Sequence[DecisionRule], audience_keys: Sequence[str], stored_at: int
) -> DecisionRules:
    """Compile the rules into one statement. Raises RequestError (503) naming what is wrong."""
    compiled = [compile_decision_rule(rule.condition, audience_keys, AS_OF) for rule in rules]
    problems = [
        f"{rule.rule_key}: {problem}"
        for rule, each in zip(rules, compiled, strict=True)
        for problem in each.problems
    ]
    if not rules or rules[-1].condition:
        problems.append("the last rule has a condition, so it may happen that none applies")
    if problems:
        raise unavailable(
            "rules_invalid",
            f"seeds/decision_rules.csv cannot decide ({'; '.join(problems)}); correct it and run "
            "`cdp refresh`.",
        )
    signals = _distinct_signals(compiled)
    content = msgspec.json.encode([msgspec.to_builtins(rule) for rule in rules])
    return DecisionRules(
        rules=rules,
        signals=signals,
        statement=_statement(compiled, signals),
        version=hashlib.sha256(content).hexdigest()[:12],
        stored_at=stored_at,
    )


def _statement(compiled: Sequence[CompiledDecisionRule], signals: Sequence[Signal]) -> str:
    events = (
        "(select events.* from unify.events"
        " inner join identified on events.profile_id = identified.profile_id)"
    )
    behaviour, joins = behaviour_sql(compiled, events, AS_OF)
    return STATEMENT.format(
        identified=IDENTIFIED,
        attributes=", ".join(f"known.{name}" for name in profile_attribute_kinds()),
        behaviour=behaviour,
        joins=joins,
        shown=", ".join(f"'{name}', profiles.{name}" for name in SHOWN),
        predicates=", ".join(f"({each.predicate}) is true" for each in compiled),
        signals=", ".join(f"({signal.predicate}) is true" for signal in signals),
        values=", ".join(signal.value for signal in signals),
    )


def _distinct_signals(compiled: Sequence[CompiledDecisionRule]) -> list[Signal]:
    distinct: dict[Any, Signal] = {}
    for rule in compiled:
        for signal in rule.signals:
            distinct.setdefault(signal.predicate, signal)
    return list(distinct.values())
