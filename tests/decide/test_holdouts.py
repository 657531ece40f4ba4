"""Who is kept out of a rule: drawn by the id that somebody unknown will have once seen."""

import hashlib
import uuid
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import RawCursor
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row, tuple_row

from dagster_project.serving.decide import is_held_out
from dagster_project.serving.rulebook import SOURCES, Sources, compile_rulebook
from tests.decide.conftest import AS_OF, CONCERT, decide, order, serving
from tests.warehouse import build, land

SHARED = "office@example.org"
WITH_SHARED = {"context": {"traits": {"email": SHARED}}}
NEWCOMERS = range(12)


def id_of(kind: str, value: str) -> str:
    """The profile id of whom this identifier names first."""
    digest = hashlib.md5(f"{kind}:{value}".encode(), usedforsecurity=False)
    return str(uuid.UUID(digest.hexdigest()))


@pytest.fixture(scope="module")
def half_held_out(module_database: str) -> str:
    """A warehouse with an e-mail address of more users than its limit, and holdouts of 50 %."""
    with psycopg.connect(module_database) as connection:
        land(connection, [order(f"clerk-{number}", 20, 3, **WITH_SHARED) for number in range(6)])
    build(module_database, as_of=AS_OF, exclude="test_type:data")
    with psycopg.connect(module_database, autocommit=True) as connection:
        connection.execute("update decide.decision_rules set holdout_percent = 50")
    return module_database


@pytest.mark.parametrize(
    ("shared", "sent"),
    [
        ({"user_id": "guest"}, {"userId": "guest"}),
        ({"user_id": "NULL", "email": SHARED}, {"userId": "NULL", **WITH_SHARED}),
        ({"email": SHARED}, WITH_SHARED),
    ],
)
async def test_a_newcomer_is_drawn_by_their_own_identifier_before_and_after_being_seen(
    half_held_out: str, shared: dict[str, str], sent: dict[str, Any]
) -> None:
    browsers = [f"{'-'.join(shared)}-{number}" for number in NEWCOMERS]
    at = {"timestamp": AS_OF.isoformat(), "receivedAt": AS_OF.isoformat()}
    pages = [
        {"type": "page", "anonymousId": each, "name": "Home", **sent, **at} for each in browsers
    ]
    async with serving(half_held_out) as client:
        unknown = [
            await decide(client, context=CONCERT, anonymous_id=each, **shared) for each in browsers
        ]
        with psycopg.connect(half_held_out) as connection:
            land(connection, pages)
        seen = [
            await decide(client, context=CONCERT, anonymous_id=each, **shared) for each in browsers
        ]
    ids = [id_of("anonymous_id", each) for each in browsers]
    assert [each["profile"] for each in unknown] == [None] * len(browsers)
    assert [each["profile"]["profile_id"] for each in seen] == ids
    drawn = [is_held_out("acquisition", each, 50) for each in ids]
    assert [each["is_holdout"] for each in unknown] == drawn
    assert [each["is_holdout"] for each in seen] == drawn
    assert 0 < sum(drawn) < len(drawn)


@pytest.mark.parametrize(
    ("asked", "subject"),
    [
        ({"user_id": "new", "anonymous_id": "browser"}, id_of("user_id", "new")),
        (
            {"email": "New@Example.org", "anonymous_id": "browser"},
            id_of("email", "new@example.org"),
        ),
        ({"user_id": "guest", "email": SHARED}, id_of("email", SHARED)),
        ({"user_id": "guest", "anonymous_id": "null"}, id_of("user_id", "guest")),
        ({"profile_id": id_of("user_id", "x")}, id_of("profile_id", id_of("user_id", "x"))),
    ],
)
async def test_a_draw_is_of_the_most_trusted_identifier_that_links_else_of_what_there_is(
    half_held_out: str, asked: dict[str, str], subject: str
) -> None:
    async with serving(half_held_out) as client:
        answer = await decide(client, context=CONCERT, **asked)
    with psycopg.connect(half_held_out) as connection:
        logged = connection.execute(
            "select profile_id, subject_id, holdout_percent, is_holdout from decide.decisions"
            " where decision_id = %s",
            [answer["decision_id"]],
        ).fetchone()
    is_holdout = is_held_out("acquisition", subject, 50)
    assert logged == (None, subject, 50, is_holdout)
    assert answer["is_holdout"] == is_holdout


@pytest.mark.parametrize(("user_id", "is_known"), [("clerk-1", True), ("nobody", False)])
def test_identifiers_are_looked_up_for_a_draw_only_where_nobody_was_found(
    half_held_out: str, user_id: str, is_known: bool
) -> None:
    reader = make_conninfo(half_held_out, user="cdp_serving")
    asked = [None, user_id, None, None, "browser", AS_OF, True, "[{}]"]
    with psycopg.connect(reader, row_factory=dict_row) as connection:
        row = connection.execute(SOURCES).fetchone()
        assert row is not None
        book = compile_rulebook(msgspec.convert(row, Sources), row["stored_at"])
        explained = f"explain (analyze, costs off, timing off) {book.decision_statement}"
        lines = RawCursor(connection, row_factory=tuple_row).execute(explained, asked).fetchall()
    [scanned] = [line for (line,) in lines if "on identifier_rules" in line]
    assert ("never executed" in scanned) == is_known
