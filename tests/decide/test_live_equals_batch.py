"""Live equals batch: what is answered now is what a full refresh at the same instant would say.

Everything lands first. Transactions that were opened between the events hold the horizon of a build
back to where they began, so that the rest is pending for it; the last build sees all of it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from cdp.postgres import EmbeddedPostgres
from tests.conftest import TEMPLATE
from tests.decide.histories import AS_OF, histories, interleaved
from tests.warehouse import build, land

SEED = 20261126
# What share of the events a build has seen, and how long before AS_OF it ran.
CUTS = [(0.45, timedelta(days=20)), (0.75, timedelta(days=1)), (0.95, timedelta(0))]
MODELS = "+path:models/unify +path:models/collect watermark"

LIVE = """
select
    identifiers.identifier_type,
    identifiers.identifier_value,
    (now.profile).*,
    now.path,
    now.is_degraded,
    (
        select array_agg(events.message_id order by events.message_id)
        from (
            select events.message_id
            from decide.events
            where events.anchor_id = any(now.anchor_ids)
            union all
            select events.message_id
            from decide.anchors
            inner join decide.events on anchors.anchor_id = events.anchor_id
            where now.anchor_ids is null and anchors.profile_id = (now.profile).profile_id
            union all
            select pending.message_id
            from unnest(now.pending) as pending
        ) as events
    ) as message_ids
from wanted as identifiers
left join lateral decide.profile_now(
    null,
    case when identifiers.identifier_type = 'user_id' then identifiers.identifier_value end,
    case when identifiers.identifier_type = 'email' then identifiers.identifier_value end,
    case when identifiers.identifier_type = 'phone' then identifiers.identifier_value end,
    case when identifiers.identifier_type = 'anonymous_id' then identifiers.identifier_value end,
    %s
) as now on true
"""
BATCH = """
select
    identifiers.identifier_type,
    identifiers.identifier_value,
    profiles.*,
    (
        select array_agg(events.message_id order by events.message_id)
        from unify.events
        where events.profile_id = profiles.profile_id
    ) as message_ids
from unify.identifiers
left join unify.profiles on identifiers.profile_id = profiles.profile_id
"""
Person = dict[str, Any]


@dataclass
class Answers:
    """What was said about everybody: at each cut live, and in the end by the batch."""

    live: list[dict[tuple[str, str], Person]] = field(default_factory=list)
    batch: dict[tuple[str, str], Person] = field(default_factory=dict)


@pytest.fixture(scope="module")
def answers(cluster: EmbeddedPostgres) -> Iterator[Answers]:
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f"create database cut_histories template {TEMPLATE}")
    url = make_conninfo(cluster.url("cut_histories"))
    events = interleaved(histories(SEED, world_count=40, event_count=40), SEED)
    holding: list[psycopg.Connection[Any]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for number, event in enumerate(events):
            while len(holding) < len(CUTS) and number >= CUTS[len(holding)][0] * len(events):
                holding.append(psycopg.connect(url))
                holding[-1].execute("select pg_current_xact_id()")
            land(connection, [event])
        connection.execute("create temp table wanted as " + wanted(events), [])
        found = Answers()
        build(url, command="seed")
        for transaction, (_share, before) in zip(holding, CUTS, strict=True):
            build(url, select=MODELS, as_of=AS_OF - before, command="run")
            found.live.append(people(connection, LIVE, [AS_OF]))
            transaction.close()
        build(url, select=MODELS, as_of=AS_OF, command="run", full_refresh=True)
        found.live.append(people(connection, LIVE, [AS_OF]))
        found.batch = people(connection, BATCH, [])
    yield found
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("drop database cut_histories with (force)")


def wanted(_events: list[dict[str, Any]]) -> str:
    """A query of every identifier that any event carries."""
    columns = {"user_id": "user_id", "email": "email", "phone": "phone"}
    columns["anonymous_id"] = "anonymous_id"
    parts = [
        f"select '{kind}' as identifier_type, {column} as identifier_value from raw.events"
        f" where {column} is not null"
        for kind, column in columns.items()
    ]
    parts += [
        f"select '{kind}', previous_id from raw.events where previous_id is not null"
        for kind in ("user_id", "anonymous_id")
    ]
    return " union ".join(parts)


def people(
    connection: psycopg.Connection[Any], query: str, parameters: list[Any]
) -> dict[tuple[str, str], Person]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query.encode(), parameters).fetchall()
    return {(row.pop("identifier_type"), row.pop("identifier_value")): row for row in rows}


@pytest.mark.parametrize("cut", range(len(CUTS) + 1))
def test_everybody_is_answered_as_by_a_full_refresh(answers: Answers, cut: int) -> None:
    live, paths = answers.live[cut], Counter[str | None]()
    differences = []
    for identifier, batch in answers.batch.items():
        person = dict(live[identifier])
        paths[person.pop("path")] += 1
        assert not person.pop("is_degraded"), identifier
        expected = batch if batch["profile_id"] else dict.fromkeys(batch)
        if person != expected:
            differences.append(
                (
                    identifier,
                    {
                        name: (person[name], value)
                        for name, value in expected.items()
                        if person[name] != value
                    },
                )
            )
    assert differences[:3] == []
    assert len(answers.batch) > 500
    if cut < len(CUTS):
        assert min(paths["walk"], paths["same"] or paths["batch"]) > 20, paths
    assert any(isinstance(person["profile_id"], UUID) for person in live.values())
