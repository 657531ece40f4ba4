"""The identity graph against an independent library, and what must never happen to it."""

import random
from datetime import UTC, datetime
from typing import Any

import networkx
import psycopg
import pytest

from tests.unify.conftest import UNIFY, Warehouse
from tests.warehouse import BuildError, build, land


def test_components_equal_those_of_networkx(database: str) -> None:
    """Sparse enough that components of all sizes occur; no user_ids, so no limit cuts in."""
    chance = random.Random(7)  # noqa: S311 - a reproducible history
    events: list[dict[str, Any]] = []
    graph: networkx.Graph[tuple[str, str]] = networkx.Graph()
    for _ in range(1500):
        email = f"{chance.randrange(800)}@example.org"
        browser = f"browser-{chance.randrange(800)}"
        graph.add_edge(("email", email), ("anonymous_id", browser))
        events.append({"type": "identify", "anonymousId": browser, "traits": {"email": email}})
    with psycopg.connect(database) as connection:
        land(connection, events)
    build(database, select=UNIFY)
    profiles: dict[Any, set[tuple[str, str]]] = {}
    for row in Warehouse(database).rows("select * from unify.identifiers"):
        member = (row["identifier_type"], row["identifier_value"])
        profiles.setdefault(row["profile_id"], set()).add(member)
    expected = {frozenset(component) for component in networkx.connected_components(graph)}
    assert {frozenset(members) for members in profiles.values()} == expected
    assert max(len(component) for component in expected) > 100


def test_two_identifiers_with_one_key_stop_the_run_before_they_are_merged(
    database: str, weak_keys: None
) -> None:
    with psycopg.connect(database) as connection:
        land(connection, [{"type": "page", "userId": "ann"}, {"type": "page", "userId": "bob"}])
    with pytest.raises(BuildError, match="could not create unique index"):
        build(database, select=UNIFY)
    with psycopg.connect(database) as connection:
        assert connection.execute("select to_regclass('unify.profiles')").fetchone() == (None,)


def test_profile_ids_do_not_depend_on_how_events_were_cut_into_transactions(database: str) -> None:
    events: list[dict[str, Any]] = [
        {"type": "page", "anonymousId": "browser", "timestamp": "2026-01-02T00:00:00Z"},
        {"type": "identify", "userId": "ann", "traits": {"email": "ann@example.org"}},
        {"type": "page", "anonymousId": "browser", "userId": "ann"},
    ]
    received_at = datetime(2026, 1, 3, tzinfo=UTC)
    warehouse = Warehouse(database)
    with psycopg.connect(database) as connection:
        land(connection, events, received_at=received_at)
    build(database, select=UNIFY, full_refresh=True)
    together = warehouse.rows("select profile_id, user_id, email from unify.profiles")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("truncate raw.events, raw.landings")
        for event in events:
            land(connection, [event], received_at=received_at)
    build(database, select=UNIFY, full_refresh=True)
    assert warehouse.rows("select profile_id, user_id, email from unify.profiles") == together
    assert len(together) == 1
