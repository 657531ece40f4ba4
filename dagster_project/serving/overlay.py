"""SQL of what is true of somebody now: the live profile, its events, and the audiences it is in.

The parts are CTEs that follow one another. Audiences and decision rules are compiled by the macros
of the batch over the same columns, so the same condition gives the same answer.
"""

from collections.abc import Sequence

from cdp.audience_rules import (
    CompiledAudience,
    CompiledDecisionRule,
    behaviour_sql,
    events_read_sql,
    profile_attribute_kinds,
    text_literal,
)

AS_OF = "$6::timestamptz"
EVENTS = "person_events"
COLUMNS = ("profile_id", *profile_attribute_kinds())

# One row when the person is known. $1 to $5 are the identifiers, $6 is the instant, $7 says whether
# to look at what is pending.
PERSON = """
person as materialized (
    select {columns}
    from decide.profile_now(
        $1::uuid, $2::text, $3::text, $4::text, $5::text, {as_of}, $7::boolean
    ) as now
),
"""
# Always one row: of nulls when nobody is known.
PROFILES = """
profiles as materialized (
    select {columns}
    from (select) as always
    left join person on true
),
"""
# A profile that nothing is pending for has its anchors in the store.
PERSON_EVENTS = """
person_events as materialized (
    select (person.profile).profile_id, happened.*
    from person
    cross join lateral (
        select {columns}
        from decide.events as events
        where events.anchor_id = any(person.anchor_ids){condition}
        union all
        select {columns}
        from decide.anchors
        inner join decide.events as events on anchors.anchor_id = events.anchor_id
        where
            person.anchor_ids is null
            and anchors.profile_id = (person.profile).profile_id{condition}
        union all
        select {columns}
        from unnest(person.pending) as events
        where true{condition}
    ) as happened
),
"""
# What holdouts are drawn from: the profile, or for somebody unknown the id that they will have once
# seen, which is that of the most trusted identifier given that links. One that is blocked or over
# its limit names many, an unknown profile id nobody: these only make a draw that stays the same.
# What is given is looked up only where nobody was found.
SUBJECT = """coalesce(
            profiles.profile_id,
            (
                select md5(given.kind || ':' || given.value)::uuid
                from (
                    values
                    ('user_id', $2::text),
                    ('email', $3::text),
                    ('phone', $4::text),
                    ('anonymous_id', $5::text)
                ) as given (kind, value)
                inner join decide.identifier_rules as rules on given.kind = rules.identifier_type
                left join decide.identifiers as known
                    on
                        decide.key_of(given.kind, given.value) = known.identifier_key
                        and given.value = known.identifier_value
                where given.value is not null
                order by
                    coalesce(known.is_blocked, decide.is_blocked(given.kind, given.value)),
                    coalesce(known.is_over_limit, false),
                    rules.priority,
                    given.kind
                limit 1
            ),
            md5('profile_id:' || $1::uuid)::uuid
        )"""
RULE_COLUMNS = ("event_type", "properties", "context", "occurred_at")

# Nobody unknown is in an audience, also where a condition holds for what is missing.
MEMBERSHIP = """
membership as materialized (
    select
        case
            when profiles.profile_id is null then '{{}}'::text[]
            else array_remove(array[{cases}]::text[], null){kept}
        end as audience_keys
    from profiles
    {joins}
),
"""
# Of an audience whose definition has a mistake the members stay as they were.
KEPT = """
                || array(
                    select audiences.audience_key
                    from segment.audience_members as members
                    inner join segment.audiences on members.audience_id = audiences.audience_id
                    where
                        members.profile_id = profiles.profile_id
                        and audiences.audience_key in ({keys})
                )"""


def person_ctes(*, with_nodes: bool = False) -> str:
    """CTEs `person` and `profiles`. The nodes hold each pending event again: only where needed."""
    asked = ["profile", "is_degraded", "anchor_ids", "pending", *(["nodes"] if with_nodes else [])]
    person = PERSON.format(columns=", ".join(f"now.{name}" for name in asked), as_of=AS_OF)
    columns = ", ".join(f"(person.profile).{name}" for name in COLUMNS)
    return person + PROFILES.format(columns=columns)


def events_cte(columns: Sequence[str], condition: str = "") -> str:
    """CTE `person_events`: the person's events, pending ones included, that a condition admits."""
    named = ", ".join(f"events.{name}" for name in columns)
    return PERSON_EVENTS.format(columns=named, condition=f" and {condition}" if condition else "")


def behaviour(rules: Sequence[CompiledAudience | CompiledDecisionRule]) -> tuple[str, str]:
    """CTEs of what the rules read about events, and the joins that follow `from profiles`."""
    admitted = events_read_sql(rules, AS_OF)
    if not admitted:
        return "", ""
    events = events_cte(RULE_COLUMNS, admitted)
    ctes, joins = behaviour_sql(rules, EVENTS, AS_OF)
    return events + ctes, joins


def membership_cte(
    audiences: Sequence[CompiledAudience], kept_keys: Sequence[str], joins: str
) -> str:
    """CTE `membership`: one row with `audience_keys`, in the order of `audiences`."""
    cases = ", ".join(
        f"case when {each.predicate} then {text_literal(each.audience_key)} end"
        for each in audiences
    )
    keys = ", ".join(text_literal(key) for key in kept_keys)
    kept = KEPT.format(keys=keys) if kept_keys else ""
    return MEMBERSHIP.format(cases=cases, kept=kept, joins=joins)
