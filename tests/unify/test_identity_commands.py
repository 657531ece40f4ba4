"""Why identifiers are one person, and what other rules would do: command, address and job."""

import dataclasses
import hashlib
import json
from typing import Any
from uuid import UUID

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from cdp.cli import app
from cdp.errors import UserError
from cdp.identity_evidence import explain
from cdp.identity_preview import IdentityPreview, ProfileMove, components, preview_identity
from cdp.identity_rules import BlockedIdentifier, IdentityRules, seeded_rules
from cdp.settings import Settings
from dagster_project.defs.identity_preview import identity_preview
from tests.decide.conftest import serving
from tests.unify.conftest import UNIFY, Warehouse
from tests.warehouse import build, land

AS_OF = "2026-03-01T00:00:00Z"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def identify(message_id: str, email: str | None = None, **identifiers: str) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": message_id,
        "traits": {"email": email} if email else {},
        "timestamp": "2026-02-01T00:00:00Z",
        **identifiers,
    }


def bought(user: str) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": user,
        "timestamp": "2026-02-20T00:00:00Z",
        "properties": {"order_id": f"order-{user}", "total": 200},
    }


FIRST = [
    # Two who share an office address.
    identify("office-ann", "office@example.org", userId="ann"),
    identify("office-bob", "office@example.org", userId="bob", anonymousId="bobs"),
    bought("ann"),
    # Two who share a tablet, on which somebody else looks around too.
    identify("tablet-cleo", userId="cleo", anonymousId="tablet"),
    identify("tablet-dora", userId="dora", anonymousId="tablet"),
    {"type": "page", "anonymousId": "tablet", "timestamp": "2026-02-02T00:00:00Z"},
    bought("dora"),
    # Somebody whose user_id is a word of the shop's.
    identify("word", "eve@example.org", userId="tester"),
    # A browser and a user who turn out to be one.
    identify("browser", anonymousId="finns-browser"),
    identify("finn", userId="finn"),
    {**identify("call", userId="gwen"), "traits": {"phone": "+4930901820"}},
]
LATER = [identify("login", userId="finn", anonymousId="finns-browser")]


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    with psycopg.connect(module_database, autocommit=True) as connection:
        for event in FIRST:
            land(connection, [event])
        build(module_database, as_of=AS_OF)
        land(connection, LATER)
    build(module_database, as_of=AS_OF, command="run")
    return module_database


def profile_of(identifier_type: str, value: str) -> UUID:
    return UUID(hashlib.md5(f"{identifier_type}:{value}".encode()).hexdigest())  # noqa: S324 - an id


def told(database: str, identifier: str) -> dict[str, Any]:
    with psycopg.connect(database) as connection:
        [found] = explain(connection, identifier)
    return found


def link_texts(found: dict[str, Any]) -> list[tuple[str, str, str, str, bool]]:
    return [
        (
            *sorted(each["identifier_value"] for each in link["identifiers"]),
            link["kind"],
            link["event"]["message_id"],
            link["joins"],
        )
        for link in found["links"]
    ]


def test_each_link_names_the_event_that_made_it(database: str) -> None:
    found = told(database, "bobs")
    assert found["profile_id"] == profile_of("user_id", "ann")
    assert {each["identifier_value"] for each in found["identifiers"]} == {
        "ann",
        "bob",
        "bobs",
        "office@example.org",
    }
    assert sorted(link_texts(found)) == [
        ("ann", "office@example.org", "carried", "office-ann", True),
        ("bob", "bobs", "carried", "office-bob", True),
        ("bob", "office@example.org", "carried", "office-bob", True),
        ("bobs", "office@example.org", "carried", "office-bob", True),
    ]


def test_what_does_not_link_says_why(database: str) -> None:
    found = told(database, "user_id:cleo")
    [tablet] = [each for each in found["identifiers"] if each["identifier_type"] == "anonymous_id"]
    assert tablet["is_blocked"]
    assert tablet["why_blocked"] == "seen with 2 user_ids, more than 1"
    assert tablet["profile_id"] == str(profile_of("anonymous_id", "tablet"))
    assert link_texts(found) == [("cleo", "tablet", "carried", "tablet-cleo", False)]


def test_a_past_id_leads_to_the_profile_and_is_named_there(database: str) -> None:
    found = told(database, str(profile_of("user_id", "finn")))
    assert found["profile_id"] == profile_of("anonymous_id", "finns-browser")
    assert found["past_ids"] == [str(profile_of("user_id", "finn"))]
    assert [change["kind"] for change in found["changes"]] == ["merge"]


def test_a_value_is_read_as_its_type_is_kept(database: str) -> None:
    with psycopg.connect(database) as connection:
        [office] = explain(connection, " Office@Example.org ")
        assert office == told(database, "email:office@example.org")
        assert explain(connection, "Ann") == []
        assert explain(connection, "user_id:ANN") == []
        # Python reads these as ids of profiles, PostgreSQL does not.
        assert explain(connection, f"urn:uuid:{profile_of('user_id', 'nobody')}") == []
        [gwen] = explain(connection, " +49 (30) 901-820 ")
    assert gwen["profile_id"] == profile_of("user_id", "gwen")


async def test_the_address_says_what_the_command_says(database: str) -> None:
    past_id, today = profile_of("user_id", "finn"), profile_of("anonymous_id", "finns-browser")
    async with serving(database) as client:
        answer = (await client.get(f"/profiles/{past_id}/identity")).json()
        assert answer == (await client.get(f"/profiles/{today}/identity")).json()
        unknown = await client.get("/profiles/00000000-0000-4000-8000-000000000000/identity")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert answer["profile_id"] == str(today)
    assert [link["event"]["message_id"] for link in answer["links"]] == ["login"]
    expected = told(database, "finn")
    assert {**answer, "profile_id": today} == expected


def previewed(database: str, rules: IdentityRules) -> IdentityPreview:
    with psycopg.connect(database) as connection:
        return preview_identity(connection, rules)


def moved(found: IdentityPreview) -> set[tuple[str, str, int]]:
    return {(move.kind, move.primary_identifier, len(move.successors)) for move in found.moves}


def with_limit(identifier_type: str, limit: int) -> IdentityRules:
    rules = seeded_rules()
    types = tuple(
        dataclasses.replace(each, max_user_ids=limit)
        if each.identifier_type == identifier_type
        else each
        for each in rules.types
    )
    return dataclasses.replace(rules, types=types)


def with_blocked(identifier_type: str, pattern: str) -> IdentityRules:
    rules = seeded_rules()
    added = BlockedIdentifier(identifier_type, pattern, "a test")
    return dataclasses.replace(rules, blocked=(*rules.blocked, added))


def test_the_rules_in_force_move_nobody(database: str) -> None:
    assert previewed(database, seeded_rules()).moves == ()


@pytest.mark.parametrize(
    ("rules", "moves"),
    [
        (with_limit("anonymous_id", 2), {("merge", "dora", 1), ("merge", "tablet", 1)}),
        (with_limit("email", 1), {("split", "bob", 2)}),
        (with_blocked("email", "office@.*"), {("split", "bob", 2)}),
        (with_blocked("user_id", "tester"), {("rename", "tester", 1)}),
        (with_blocked("anonymous_id", "tablet"), {("dissolve", "tablet", 0)}),
        (with_blocked("*", ".*finn.*"), {("dissolve", "finn", 0)}),
    ],
    ids=["raised limit", "lowered limit", "blocked email", "blocked user", "blocked tablet", "all"],
)
def test_a_preview_says_who_would_merge_and_split_and_writes_nothing(
    database: str, rules: IdentityRules, moves: set[tuple[str, str, int]]
) -> None:
    before = Warehouse(database).rows("select * from unify.identifiers order by 1, 2, 3")
    found = previewed(database, rules)
    assert moved(found) == moves
    assert Warehouse(database).rows("select * from unify.identifiers order by 1, 2, 3") == before


def test_a_list_of_successors_says_how_many_it_leaves_out() -> None:
    ids = tuple(UUID(int=number) for number in range(1, 13))
    move = ProfileMove(ids[0], "office@example.org", "split", ids)
    assert move.listed_successors(12) == ", ".join(map(str, ids))
    assert move.listed_successors(10) == ", ".join(map(str, ids[:10])) + " and 2 more"


def test_a_preview_counts_the_audience_members_that_move(database: str) -> None:
    members = previewed(database, with_limit("anonymous_id", 2)).members
    assert members["high_value_last_30_days"]["merge"] == 1
    members = previewed(database, with_blocked("email", "office@.*")).members
    assert members["high_value_last_30_days"]["split"] == 1


def test_a_preview_and_the_refresh_after_it_agree_on_every_profile(database: str) -> None:
    """Runs last: it changes the warehouse and puts it back."""
    rules = with_blocked("*", "office@.*|tester")
    expected = {
        (move.profile_id, after)
        for move in previewed(database, rules).moves
        for after in move.successors
        if after != move.profile_id
    }
    warehouse = Warehouse(database)
    [before] = warehouse.rows("select max(run) as run from unify.profile_changes")
    with psycopg.connect(database) as connection:
        connection.execute(
            "insert into unify.blocked_identifiers values ('*', 'office@.*|tester', 'a test')"
        )
    build(database, select=UNIFY, as_of=AS_OF, command="run")
    changes = warehouse.rows(
        "select old_profile_id, profile_id from unify.profile_changes where run > %s", before["run"]
    )
    assert {(row["old_profile_id"], row["profile_id"]) for row in changes} == expected
    assert previewed(database, rules).moves == ()
    back = previewed(database, seeded_rules())
    assert {move.kind for move in back.moves} == {"merge", "rename"}


def test_a_pattern_that_is_no_expression_is_named(database: str) -> None:
    with pytest.raises(UserError, match=r"the pattern '\(' is no regular expression"):
        previewed(database, with_blocked("email", "("))


def test_a_preview_before_the_first_refresh_says_what_to_do(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("alter schema unify rename to elsewhere")
        with pytest.raises(UserError, match="not built yet; run `cdp refresh`"):
            preview_identity(connection, seeded_rules())
        connection.rollback()


def test_the_commands_and_the_job_print_it(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("CDP_HOME", str(tmp_path))
    shown = CliRunner().invoke(app, ["identity", "explain", "finn"])
    assert shown.exit_code == 0, shown.output
    assert "login" in shown.output
    assert f"was known as {profile_of('user_id', 'finn')}" in shown.output
    as_json = CliRunner().invoke(app, ["identity", "explain", "finn", "--json"])
    assert json.loads(as_json.output)[0]["identifier_count"] == 2
    unknown = CliRunner().invoke(app, ["identity", "explain", "nobody"])
    assert isinstance(unknown.exception, UserError)
    preview = CliRunner().invoke(app, ["identity", "preview"])
    assert preview.exit_code == 0, preview.output
    assert "Nothing was written" in preview.output
    result = identity_preview.execute_in_process(
        resources={
            "settings": dg.ResourceDefinition.hardcoded_resource(Settings(DATABASE_URL=database))
        },
        run_config=QUIET,
    )
    assert result.success


def test_components_of_pairs() -> None:
    found = components([(1, 2), (3, 4), (2, 3), (5, 6)])
    assert len({found[node] for node in (1, 2, 3, 4)}) == 1
    assert found[5] == found[6] != found[1]
