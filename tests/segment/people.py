"""Hand-made profiles and events in the tables that the rules read, without dbt."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from cdp.audience_rules import compile_audiences, matching_audiences_sql, profile_attribute_kinds
from tests.segment.evaluator import Person

SQL_TYPES = {
    "number": "numeric",
    "text": "text",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "json": "jsonb",
}


def person(
    number: int,
    attributes: Mapping[str, Any] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
) -> Person:
    """A profile with every attribute; what is not given is null, traits are empty."""
    nothing = dict.fromkeys(profile_attribute_kinds())
    return Person(
        f"00000000-0000-0000-0000-{number:012}",
        {**nothing, "traits": {}, **(attributes or {})},
        [{"properties": {}, "context": {}, **event} for event in events],
    )


def create_tables(connection: psycopg.Connection[Any]) -> None:
    """unify.profiles and unify.events with the columns that rules read."""
    columns = ", ".join(
        f"{name} {SQL_TYPES[kind]}" for name, kind in profile_attribute_kinds().items()
    )
    connection.execute(f"create table unify.profiles (profile_id uuid primary key, {columns})")
    connection.execute(
        "create table unify.events (profile_id uuid, event_type text, properties jsonb,"
        " context jsonb, occurred_at timestamptz)"
    )


def save(connection: psycopg.Connection[Any], people: Sequence[Person]) -> None:
    """Replace what the tables hold by these people."""
    kinds = profile_attribute_kinds()
    connection.execute("truncate unify.profiles, unify.events")
    with connection.cursor() as cursor:
        cursor.executemany(
            f"insert into unify.profiles (profile_id, {', '.join(kinds)})"
            f" values (%s, {', '.join(['%s'] * len(kinds))})",
            [
                [each.profile_id, *(_sql(each.attributes[name], kinds[name]) for name in kinds)]
                for each in people
            ],
        )
        cursor.executemany(
            "insert into unify.events (profile_id, event_type, properties, context, occurred_at)"
            " values (%s, %s, %s, %s, %s)",
            [
                [
                    each.profile_id,
                    event["event_type"],
                    Jsonb(event["properties"]),
                    Jsonb(event["context"]),
                    event["occurred_at"],
                ]
                for each in people
                for event in each.events
            ],
        )


def _sql(value: Any, kind: str) -> Any:
    return Jsonb(value) if kind == "json" and value is not None else value


def members(
    connection: psycopg.Connection[Any], definitions: Mapping[str, str], as_of: datetime
) -> dict[str, set[str]]:
    """The profile ids in each audience. Raises AssertionError when a definition is refused."""
    instant = f"timestamptz '{as_of.isoformat()}'"
    compiled = compile_audiences(definitions, instant)
    problems = {key: each.problems for key, each in compiled.items() if each.problems}
    assert not problems, problems
    keys = list(compiled)
    query = matching_audiences_sql(dict(enumerate(compiled.values())), instant)
    found: dict[str, set[str]] = {key: set() for key in keys}
    for profile_id, audience_ids in connection.execute(query.encode()).fetchall():
        for audience_id in audience_ids:
            found[keys[audience_id]].add(str(profile_id))
    return found
