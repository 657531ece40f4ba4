"""Whatever happens in whatever order: incremental equals full, and both what is worked out by hand.

One history holds several worlds that share nothing but the rules, because a run costs seconds and
a world in it next to nothing.
"""

import dataclasses
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import RawCursor

from cdp.identity_evidence import TODAY
from cdp.identity_rules import BlockedIdentifier, IdentityRules, seeded_rules
from cdp.postgres import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.unify.conftest import UNIFY, Warehouse
from tests.unify.identity_by_hand import Identifier, work_out
from tests.unify.test_incremental import FIRST_DAY, assert_equal, invented_event, snapshot
from tests.warehouse import build, land

WORLDS = 8
CHAIN = 200
# Where a run may be cut off: everything up to the model stands, nothing that comes after it.
CUTS = (
    "stg_events",
    "int_identifiers__linked",
    "int_identifiers__judged",
    "int_identifiers__resolved",
    "int_anchors__seen",
    "int_events__anchored",
    "int_anchors__resolved",
    "int_profiles__touched",
    "int_visits__joined",
    "profile_changes",
    "identifiers",
    "sessions",
    "events",
)
RULES: Mapping[str, IdentityRules] = {
    "as they are": seeded_rules(),
    "a browser of three": dataclasses.replace(
        seeded_rules(),
        types=tuple(
            dataclasses.replace(each, max_user_ids=3 if each.max_user_ids == 1 else 2)
            if each.max_user_ids
            else each
            for each in seeded_rules().types
        ),
    ),
    "addresses and browsers blocked": dataclasses.replace(
        seeded_rules(),
        blocked=(
            *seeded_rules().blocked,
            BlockedIdentifier("email", ".*[0-3]@example.org", "a test"),
            BlockedIdentifier("anonymous_id", ".*browser-1.?", "a test"),
        ),
    ),
    "users blocked": dataclasses.replace(
        seeded_rules(),
        blocked=(*seeded_rules().blocked, BlockedIdentifier("user_id", ".*user-[1-4]", "a test")),
    ),
}


@dataclass(frozen=True)
class Step:
    """What happens before a refresh, and where a run before that one was cut off: it may have been
    under other rules, or one that computes everything.
    """

    event_count: int
    days: int
    rules: str
    cut: str | None
    cut_rules: str
    is_full_cut: bool


steps = st.builds(
    Step,
    event_count=st.sampled_from([10, 60, 150]),
    days=st.sampled_from([0, 1, 12]),
    rules=st.sampled_from(list(RULES)),
    cut=st.none() | st.sampled_from(CUTS),
    cut_rules=st.sampled_from(list(RULES)),
    is_full_cut=st.booleans(),
)


def of_world(event: dict[str, Any], world: int) -> dict[str, Any]:
    """The event with identifiers that no other world has; what identifies nobody stays."""

    def renamed(text: str) -> str:
        return text if text in ("null", "0000") else f"w{world}-{text}"

    changed = {
        name: renamed(event[name])
        for name in ("messageId", "userId", "anonymousId", "previousId")
        if event.get(name)
    }
    traits = event.get("traits", event.get("context", {}).get("traits", {}))
    for name in ("email", "phone"):
        if traits.get(name):
            traits[name] = renamed(traits[name])
    return event | changed


def chain(chance: random.Random, received_at: datetime) -> list[dict[str, Any]]:
    """Links of one long chain, in any order."""
    links = [
        {
            "type": "identify",
            "messageId": f"chain-{number:03}",
            "receivedAt": received_at.isoformat(),
            "anonymousId": f"chain-{(number + 1) // 2}",
            "traits": {"email": f"chain-{number // 2}@example.com"},
        }
        for number in range(CHAIN)
    ]
    chance.shuffle(links)
    return links


def state_rules(database: str, rules: IdentityRules) -> None:
    """Put the rules where the seeds are loaded."""
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("truncate unify.identifier_types, unify.blocked_identifiers")
        cursor.executemany(
            "insert into unify.identifier_types values (%s, %s, %s)",
            [dataclasses.astuple(each) for each in rules.types],
        )
        cursor.executemany(
            "insert into unify.blocked_identifiers values (%s, %s, %s)",
            [dataclasses.astuple(each) for each in rules.blocked],
        )


def assert_as_worked_out(
    database: str, landed: list[dict[str, Any]], rules: IdentityRules
) -> dict[Identifier, UUID | None]:
    people = work_out(landed, rules)
    warehouse = Warehouse(database)
    found = {
        (row["identifier_type"], row["identifier_value"]): row["profile_id"]
        for row in warehouse.rows("select * from unify.identifiers")
    }
    assert found == people.profile_of
    events = warehouse.rows("select message_id, profile_id from unify.events")
    assert {row["message_id"]: row["profile_id"] for row in events} == people.owner_of
    return found


def assert_resolve(
    database: str, issued: dict[UUID, set[Identifier]], today: Mapping[Identifier, UUID | None]
) -> None:
    """Every id ever issued leads to a profile of today, until nothing of it identifies anybody."""
    with psycopg.connect(database) as connection:
        for profile_id, identifiers in list(issued.items()):
            found = RawCursor(connection).execute(TODAY, [profile_id]).fetchone()
            left = {today[identifier] for identifier in identifiers} - {None}
            assert found is not None or not left, (profile_id, identifiers)
            if found is None:
                del issued[profile_id]


@pytest.fixture(scope="module")
def built_over_nothing(cluster: EmbeddedPostgres) -> Iterator[str]:
    """Name of a database with every model, built before anything landed: where histories begin."""
    name = "built_over_nothing"
    with fresh_database(cluster, name) as database:
        # Without the data tests, which have nothing to look at.
        build(database, select=UNIFY, exclude="test_type:data", as_of=FIRST_DAY)
        yield name


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(seed=st.integers(0, 2**32), history=st.lists(steps, min_size=4, max_size=4))
def test_any_history_is_as_a_full_refresh_and_as_worked_out_by_hand(
    cluster: EmbeddedPostgres, built_over_nothing: str, seed: int, history: list[Step]
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a reproducible history
    now = FIRST_DAY + timedelta(days=60)
    links = chain(chance, now)
    landed: list[dict[str, Any]] = []
    issued: dict[UUID, set[Identifier]] = {}
    with fresh_database(cluster, template=built_over_nothing) as database:
        for place, step in enumerate(history):
            batch = links[place :: len(history)]
            for number in range(step.event_count):
                now += timedelta(minutes=chance.choice([1, 5, 40]))
                event = invented_event(chance, place * 1000 + number, now)
                batch.append(of_world(event, chance.randrange(WORLDS)))
            chance.shuffle(batch)
            with psycopg.connect(database, autocommit=True) as connection:
                for first in range(0, len(batch), 40):
                    land(connection, batch[first : first + 40])
            landed += batch
            if step.cut:
                state_rules(database, RULES[step.cut_rules])
                build(
                    database,
                    select=f"+{step.cut}",
                    as_of=now,
                    command="run",
                    full_refresh=step.is_full_cut,
                )
            state_rules(database, RULES[step.rules])
            now += timedelta(days=step.days)
            build(database, select=UNIFY, as_of=now, command="run")
            today = assert_as_worked_out(database, landed, RULES[step.rules])
            for identifier, profile_id in today.items():
                if profile_id is not None:
                    issued.setdefault(profile_id, set()).add(identifier)
            assert_resolve(database, issued, today)
        incremental = snapshot(database)
        build(database, select=UNIFY, as_of=now, full_refresh=True, command="run")
        assert_equal(incremental, snapshot(database))
        assert_as_worked_out(database, landed, RULES[history[-1].rules])
