"""Audiences, decision rules and campaigns: read from the warehouse, compiled to statements."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from cdp.audience_rules import (
    CompiledAudience,
    CompiledDecisionRule,
    Signal,
    compile_audiences,
    compile_decision_rule,
)
from dagster_project.serving.database import WAIT_SECONDS, Database, Row
from dagster_project.serving.errors import unavailable
from dagster_project.serving.overlay import (
    AS_OF,
    COLUMNS,
    SUBJECT,
    behaviour,
    membership_cte,
    person_ctes,
)

# Written again, a table has another file: so a change is noticed without a question of its own.
STORED_AT = """array[
        pg_relation_filenode('decide.decision_rules'),
        pg_relation_filenode('decide.campaign_rules'),
        pg_relation_filenode('segment.audiences')
    ]::bigint[]"""
SOURCES = f"""
select
    (
        select coalesce(jsonb_agg(to_jsonb(rules) order by rules.priority), '[]')
        from decide.decision_rules as rules
    ) as decision_rules,
    (
        select coalesce(jsonb_agg(to_jsonb(rules) order by rules.priority), '[]')
        from decide.campaign_rules as rules
    ) as campaign_rules,
    (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'audience_key', audiences.audience_key,
                    'definition', audiences.definition,
                    'definition_version', audiences.definition_version,
                    'is_enabled', audiences.is_enabled
                )
                order by audiences.audience_key
            ),
            '[]'
        )
        from segment.audiences
    ) as audiences,
    {STORED_AT} as stored_at
"""  # noqa: S608 - constants

# What an answer shows of the profile. Traits may hold anything and are left to GET /profiles.
SHOWN = tuple(name for name in COLUMNS if name not in ("profile_id", "traits", "first_order_at"))

# $8 holds the contexts, a JSON list; one row for each, whether the profile is known or not.
DECISION = """
with request as (
    select listed.context, listed.number
    from jsonb_array_elements($8::jsonb) with ordinality as listed (context, number)
),
{person}{behaviour}{membership}
answers as (
    select
        profiles.profile_id::text as profile_id,
        {subject}::text as subject_id,
        jsonb_build_object({shown}) as profile,
        membership.audience_keys,
        {as_of} as as_of,
        (select watermark.as_of from decide.watermark) as batch_as_of,
        coalesce((select person.is_degraded from person), not $7::boolean) as is_degraded,
        array[{predicates}]::boolean[] as holds,
        array[{campaigns}]::boolean[] as campaigns_hold,
        array[{signals}]::boolean[] as signals_held,
        array[{values}]::jsonb[] as signal_values,
        {stored_at} as stored_at,
        request.number
    from profiles
    cross join request
    cross join membership
    {joins}
)

select * from answers order by answers.number
"""
# How long somebody has belonged is known from the last refresh on.
PROFILE = """
with {person}{behaviour}{membership}
answers as (
    select
        {columns},
        coalesce(
            (select decide.listed_nodes(person.nodes) from person),
            (
                select jsonb_agg(
                    jsonb_build_object(
                        'identifier_type', identifiers.identifier_type,
                        'identifier_value', identifiers.identifier_value,
                        'first_seen_at', identifiers.first_seen_at
                    )
                    order by identifiers.identifier_type, identifiers.identifier_value
                )
                from decide.identifiers
                where identifiers.profile_id = profiles.profile_id
            )
        ) as identifiers,
        (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'audience_key', own.audience_key, 'added_at', members.added_at
                    )
                    order by own.audience_key
                ),
                '[]'
            )
            from unnest(membership.audience_keys) as own (audience_key)
            inner join segment.audiences on own.audience_key = audiences.audience_key
            left join segment.audience_members as members
                on
                    audiences.audience_id = members.audience_id
                    and members.profile_id = profiles.profile_id
        ) as audiences,
        {as_of} as as_of,
        {stored_at} as stored_at
    from profiles
    cross join membership
    where profiles.profile_id is not null
)

select * from answers
"""


class DecisionRule(msgspec.Struct, frozen=True):
    """One row of seeds/decision_rules.csv. Of those for whom it holds, `holdout_percent` are kept
    out: they get what the last rule offers, so that what the rule brings can be measured.
    """

    rule_key: str
    experience: str
    reason: str
    condition: str | None = None
    offer: str | None = None
    holdout_percent: float | None = None


class CampaignRule(msgspec.Struct, frozen=True):
    """One row of seeds/campaign_rules.csv."""

    rule_key: str
    campaign: str
    reason: str
    condition: str | None = None


class Audience(msgspec.Struct, frozen=True):
    """An audience as the last refresh knew it."""

    audience_key: str
    definition_version: int
    is_enabled: bool
    definition: str | None = None


class Sources(msgspec.Struct, frozen=True):
    """Everything that is compiled."""

    decision_rules: list[DecisionRule]
    campaign_rules: list[CampaignRule]
    audiences: list[Audience]


@dataclass(frozen=True)
class Rulebook:
    """The rules by priority, and the statements that tell what holds for somebody now.

    `stored_at` changes whenever a table is written again; the statements report it. `version` is
    made of the decision rules, `audience_versions` has each audience that is evaluated. Rules that
    cannot decide everything leave `decision_statement` empty, and `problem` says what is wrong.
    """

    sources: Sources
    version: str
    audience_versions: Mapping[str, int]
    signals: Sequence[Signal]
    decision_statement: str
    profile_statement: str
    stored_at: Sequence[int]
    problem: str


async def load_rulebook(database: Database, known: Rulebook | None) -> Rulebook:
    """Read the rules, and compile them unless they are as `known` has them."""
    row = await database.row(SOURCES)
    if row is None:  # a select without from always has a row
        raise unavailable("not_built", "No run has ended yet; run `cdp refresh`.")
    stored_at = row.pop("stored_at")
    sources = msgspec.convert(row, Sources)
    if known and known.sources == sources:
        return replace(known, stored_at=stored_at)
    # Compiling is work for the processor, a second for thousands of definitions.
    return await run_in_threadpool(compile_rulebook, sources, stored_at)


def compile_rulebook(sources: Sources, stored_at: Sequence[int]) -> Rulebook:
    """Compile everything, and say what is wrong with rules that cannot decide."""
    enabled = {each.audience_key for each in sources.audiences if each.is_enabled}
    compiled = compile_audiences(
        {each.audience_key: each.definition or "" for each in sources.audiences}, AS_OF
    )
    live = [each for key, each in compiled.items() if key in enabled and not each.problems]
    kept = [key for key, each in compiled.items() if key in enabled and each.problems]
    keys = [each.audience_key for each in sources.audiences]
    rules = [compile_decision_rule(each.condition, keys, AS_OF) for each in sources.decision_rules]
    campaigns = [
        compile_decision_rule(each.condition, keys, AS_OF) for each in sources.campaign_rules
    ]
    problem = _problem("seeds/decision_rules.csv", sources.decision_rules, rules) or _problem(
        "seeds/campaign_rules.csv", sources.campaign_rules, campaigns
    )
    signals = _distinct_signals(rules)
    return Rulebook(
        sources=sources,
        version=_version(sources),
        audience_versions={
            each.audience_key: each.definition_version
            for each in sources.audiences
            if each.is_enabled
        },
        signals=signals,
        decision_statement=(
            "" if problem else _decision_statement(rules, campaigns, signals, live, kept)
        ),
        profile_statement=_profile_statement(live, kept),
        stored_at=stored_at,
        problem=problem,
    )


def _problem(
    seed: str,
    rules: Sequence[DecisionRule | CampaignRule],
    compiled: Sequence[CompiledDecisionRule],
) -> str:
    """Why the rules of a seed cannot decide everything, and what to do; empty when they can."""
    problems = [
        f"{rule.rule_key}: {problem}"
        for rule, each in zip(rules, compiled, strict=True)
        for problem in each.problems
    ]
    if not rules or rules[-1].condition:
        problems.append("the last rule has a condition, so it may happen that none applies")
    if not problems:
        return ""
    return f"{seed} cannot decide ({'; '.join(problems)}); correct it and run `cdp refresh`."


def _version(sources: Sources) -> str:
    content = msgspec.json.encode([sources.decision_rules, sources.campaign_rules])
    return hashlib.sha256(content).hexdigest()[:12]


def _decision_statement(
    rules: Sequence[CompiledDecisionRule],
    campaigns: Sequence[CompiledDecisionRule],
    signals: Sequence[Signal],
    audiences: Sequence[CompiledAudience],
    kept_keys: Sequence[str],
) -> str:
    ctes, joins = behaviour([*audiences, *rules, *campaigns])
    return DECISION.format(
        person=person_ctes(),
        as_of=AS_OF,
        subject=SUBJECT,
        behaviour=ctes,
        membership=membership_cte(audiences, kept_keys, joins),
        shown=", ".join(f"'{name}', profiles.{name}" for name in SHOWN),
        predicates=_holds(each.predicate for each in rules),
        campaigns=_holds(each.predicate for each in campaigns),
        signals=_holds(signal.predicate for signal in signals),
        values=", ".join(signal.value for signal in signals),
        stored_at=STORED_AT,
        joins=joins,
    )


def _profile_statement(audiences: Sequence[CompiledAudience], kept_keys: Sequence[str]) -> str:
    ctes, joins = behaviour(audiences)
    return PROFILE.format(
        person=person_ctes(with_nodes=True),
        as_of=AS_OF,
        behaviour=ctes,
        membership=membership_cte(audiences, kept_keys, joins),
        columns=", ".join(f"profiles.{name}" for name in COLUMNS),
        stored_at=STORED_AT,
    )


def _holds(predicates: Any) -> str:
    return ", ".join(f"({predicate}) is true" for predicate in predicates)


def _distinct_signals(compiled: Sequence[CompiledDecisionRule]) -> list[Signal]:
    distinct: dict[Any, Signal] = {}
    for rule in compiled:
        for signal in rule.signals:
            distinct.setdefault(signal.predicate, signal)
    return list(distinct.values())


class Rulebooks:
    """The rulebook as the warehouse has it now: read again when a statement says it has changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Rulebook | None = None

    async def ask(
        self,
        statement: str,
        parameters: Sequence[Any],
        *,
        through: Database | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> tuple[Rulebook, list[Row]]:
        """The rows of one of the rulebook's statements, by its name, and the rulebook it is of.

        `through` is another pool of connections than the usual one, `wait_seconds` how long it may
        take to get one. Raises RequestError (503) while it cannot be told.
        """
        database = through or self._database
        book = self._known
        if book is None or not getattr(book, statement):
            book = await self._load(database)
        for _attempt in range(3):
            if not getattr(book, statement):
                raise unavailable("rules_invalid", book.problem)
            rows = await database.rows(getattr(book, statement), parameters, wait_seconds)
            if not rows or rows[0]["stored_at"] == book.stored_at:
                return book, rows
            book = await self._load(database)
        raise unavailable("rules_changing", "The decision rules are being replaced; try again.")

    async def _load(self, database: Database) -> Rulebook:
        self._known = await load_rulebook(database, self._known)
        return self._known
