"""Live equals batch: what is answered now is what a full refresh at the same instant would say.

Everything lands first. Transactions that were opened between the events hold the horizon of a build
back to where they began, so that the rest is pending for it; the last build sees all of it. One
build answers for many histories at once. `make test-long` has hypothesis choose histories and cuts.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import RawCursor
from psycopg.rows import dict_row

from cdp.postgres import EmbeddedPostgres
from dagster_project.serving.identity import identifiers
from dagster_project.serving.rulebook import SOURCES, Rulebook, Sources, compile_rulebook
from tests.conftest import fresh_database
from tests.decide.histories import AS_OF, histories, interleaved
from tests.warehouse import build, land

# One process for all of it: the builds are the dear part.
pytestmark = pytest.mark.xdist_group("live equals batch")
MODELS = "+path:models/unify +path:models/collect watermark"
# Beside those of seeds/audiences.csv: what time, merges and refunds move.
AUDIENCES = {
    "seen_lately": {"last_event_at": {"$within_days": 28}},
    "gone_quiet": {"last_event_at": {"$not_within_days": 25}},
    "bought_lately": {"orders_30d": {"$gte": 1}, "spend_30d": {"$gt": 0}},
    "gold_or_tiered": {"$or": [{"traits.plan": "gold"}, {"traits.plan.tier": 1}]},
    "bought_twice_lately": {
        "$event": {"name": "Order Completed", "within_days": 30, "count": {"$gte": 2}}
    },
    "never_viewed_shoes": {
        "$event": {
            "name": "Product Viewed",
            "where": {"properties.category": "shoes"},
            "within_days": 30,
            "count": {"$lt": 1},
        }
    },
    "refunded": {"$event": {"name": "Order Refunded", "within_days": 60, "count": {"$gte": 1}}},
}
CONTEXTS = '[{"amount": 120, "category": "Rock Concert"}, {}]'

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
MEMBERS = """
select
    identifiers.identifier_type,
    identifiers.identifier_value,
    (
        select coalesce(array_agg(audiences.audience_key order by audiences.audience_key), '{}')
        from segment.audience_members as members
        inner join segment.audiences on members.audience_id = audiences.audience_id
        where members.profile_id = identifiers.profile_id
    ) as audience_keys
from unify.identifiers
"""
Person = dict[str, Any]
Identifier = tuple[str, str]


@dataclass(frozen=True)
class Cut:
    """A build that has seen a `share` of the events, and ran so long before AS_OF."""

    share: float
    before: timedelta


@dataclass(frozen=True)
class History:
    """What lands, and where it is cut."""

    seed: int
    world_count: int
    cuts: tuple[Cut, ...]
    landing_at_once: float
    """From that share on events are received as they land, as day by day; before, they land long
    after their receipt, as a replay's do."""


HISTORY = History(
    seed=20261126,
    world_count=40,
    # Windows end between.
    cuts=(Cut(0.45, timedelta(days=20)), Cut(0.75, timedelta(days=1)), Cut(0.95, timedelta(0))),
    landing_at_once=0.75,
)
DAYS_BEFORE = st.sampled_from([0, 1, 5, 20, 31]).map(lambda days: timedelta(days=days))
HISTORIES = st.builds(
    History,
    seed=st.integers(0, 2**32),
    world_count=st.sampled_from([5, 20]),
    cuts=st.lists(st.tuples(st.floats(0.05, 0.99), DAYS_BEFORE), min_size=2, max_size=3).map(
        lambda drawn: tuple(
            Cut(share, before)
            for share, before in zip(
                sorted(share for share, _before in drawn),
                sorted((before for _share, before in drawn), reverse=True),
                strict=True,
            )
        )
    ),
    landing_at_once=st.floats(0.0, 1.0),
)


@dataclass
class Answers:
    """What was said about everybody: at each cut live, and in the end by the batch."""

    live: list[dict[Identifier, Person]] = field(default_factory=list)
    decisions: list[dict[Identifier, list[Person]]] = field(default_factory=list)
    batch: dict[Identifier, Person] = field(default_factory=dict)
    members: dict[Identifier, Person] = field(default_factory=dict)


@pytest.fixture(scope="module")
def answers(cluster: EmbeddedPostgres) -> Iterator[Answers]:
    with fresh_database(cluster, "cut_histories") as database:
        yield answers_about(HISTORY, database)


def answers_about(history: History, database: str) -> Answers:
    worlds = histories(history.seed, history.world_count, event_count=40)
    events = interleaved(worlds, history.seed)
    holding: list[psycopg.Connection[Any]] = []
    with psycopg.connect(database, autocommit=True) as connection:
        for number, event in enumerate(events):
            cuts = history.cuts
            while len(holding) < len(cuts) and number >= cuts[len(holding)].share * len(events):
                holding.append(psycopg.connect(database))
                holding[-1].execute("select pg_current_xact_id()")
            if number >= history.landing_at_once * len(events):
                del event["receivedAt"]
            land(connection, [event])
        connection.execute("create temp table wanted as " + wanted())
        define(connection)
        found = Answers()
        build(database, command="seed")
        for transaction, cut in zip(holding, history.cuts, strict=True):
            # At first with the tables that the service reads beside the online store.
            models = MODELS if found.live else f"{MODELS} +audience_catalog"
            build(database, select=models, as_of=AS_OF - cut.before, command="run")
            book = rulebook(connection)
            found.live.append(people(connection, LIVE, [AS_OF]))
            found.decisions.append(decisions(connection, book))
            transaction.close()
        build(database, as_of=AS_OF, command="run", full_refresh=True)
        found.live.append(people(connection, LIVE, [AS_OF]))
        found.decisions.append(decisions(connection, book))
        found.batch = people(connection, BATCH, [])
        found.members = people(connection, MEMBERS, [])
    return found


def define(connection: psycopg.Connection[Any]) -> None:
    for key, definition in AUDIENCES.items():
        connection.execute(
            "insert into raw.audience_definitions (audience_key, name, definition, is_enabled)"
            " values (%s, %s, %s, true)",
            [key, key, json.dumps(definition)],
        )


def rulebook(connection: psycopg.Connection[Any]) -> Rulebook:
    """The statements that the service asks with."""
    row = connection.cursor(row_factory=dict_row).execute(SOURCES.encode()).fetchone()
    assert row
    stored_at = row.pop("stored_at")
    return compile_rulebook(msgspec.convert(row, Sources), stored_at)


def decisions(
    connection: psycopg.Connection[Any], book: Rulebook
) -> dict[Identifier, list[Person]]:
    """What the service is told about everybody in two situations, but for the batch's own time."""
    connection.execute("set plan_cache_mode = force_generic_plan; set jit = off")
    told = {}
    cursor = RawCursor(connection, row_factory=dict_row)
    for kind, value in connection.execute("select * from wanted").fetchall():
        who = identifiers(**{kind: value})
        parameters = [*who.parameters(), AS_OF, True, CONTEXTS]
        rows = cursor.execute(book.decision_statement.encode(), parameters, prepare=True)
        told[kind, value] = [
            {name: row[name] for name in row if name not in ("batch_as_of", "stored_at")}
            for row in rows
        ]
    connection.execute("reset plan_cache_mode")
    return told


def wanted() -> str:
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
) -> dict[Identifier, Person]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query.encode(), parameters).fetchall()
    return {(row.pop("identifier_type"), row.pop("identifier_value")): row for row in rows}


def differences(answers: Answers, cut: int) -> list[tuple[Identifier, dict[str, tuple[Any, Any]]]]:
    """Who was told something else than the full refresh says, with what was said and should be."""
    found = []
    for identifier, batch in answers.batch.items():
        live = dict(answers.live[cut][identifier])
        del live["path"]
        assert not live.pop("is_degraded"), identifier
        expected = batch if batch["profile_id"] else dict.fromkeys(batch)
        assert live.keys() == expected.keys()
        other = {
            name: (live[name], value) for name, value in expected.items() if live[name] != value
        }
        if other:
            found.append((identifier, other))
    return found


@pytest.mark.parametrize("cut", range(len(HISTORY.cuts) + 1))
def test_everybody_is_answered_as_by_a_full_refresh(answers: Answers, cut: int) -> None:
    assert differences(answers, cut)[:3] == []
    assert len(answers.batch) > 500
    people_by_path = Counter(answers.live[cut][identifier]["path"] for identifier in answers.batch)
    if cut < len(HISTORY.cuts):
        same_or_batch = people_by_path["same"] or people_by_path["batch"]
        assert min(people_by_path["walk"], same_or_batch) > 20, people_by_path
    assert any(isinstance(person["profile_id"], UUID) for person in answers.live[cut].values())


@pytest.mark.parametrize("cut", range(len(HISTORY.cuts) + 1))
def test_everybody_is_decided_about_as_after_a_full_refresh(answers: Answers, cut: int) -> None:
    after = answers.decisions[-1]
    assert answers.decisions[cut] == after
    # Both sides of the rules decide, and each audience has some of the people.
    assert len({tuple(row["holds"]) for rows in after.values() for row in rows}) == 4
    sizes = Counter(key for rows in after.values() for key in rows[0]["audience_keys"])
    assert set(AUDIENCES) <= {key for key, size in sizes.items() if size < len(after)}


def test_audiences_are_those_of_the_batch(answers: Answers) -> None:
    assert_members_of_the_batch(answers)


def assert_members_of_the_batch(answers: Answers) -> None:
    for identifier, members in answers.members.items():
        for row in answers.decisions[-1][identifier]:
            assert row["audience_keys"] == members["audience_keys"]


@pytest.mark.long
@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(history=HISTORIES)
def test_any_history_cut_anywhere_is_answered_as_by_a_full_refresh(
    cluster: EmbeddedPostgres, history: History
) -> None:
    with fresh_database(cluster) as database:
        answers = answers_about(history, database)
    for cut in range(len(history.cuts) + 1):
        assert differences(answers, cut)[:3] == []
        assert answers.decisions[cut] == answers.decisions[-1]
    assert_members_of_the_batch(answers)
