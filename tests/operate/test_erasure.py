"""Erasing people: nothing of them is left anywhere, and what is left is as if they never were."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from cdp.cli import app
from cdp.settings import environment_set
from dagster_project.defs.jobs import EQUALS_FULL
from dagster_project.instance import open_instance
from dagster_project.run import refresh
from dagster_project.subscriptions import (
    EVERY_AUDIENCE,
    CsvOptions,
    DestinationRow,
    Subscription,
    Subscriptions,
    WebhookOptions,
)
from dagster_project.verification import still_comparable
from tests.activate.receiver import SECRET, Receiver
from tests.operate.conftest import Platform
from tests.unify.conftest import UNIFY
from tests.warehouse import build, land

# One platform for all of it: a refresh is the dear part.
pytestmark = pytest.mark.xdist_group("erasure")
NOW = datetime.now(UTC)
ADA = [("user_id", "ada-17"), ("email", "ada@example.org"), ("anonymous_id", "browser-ada-1")]
CLEO = [("email", "cleo@example.org")]
# What a search for Ada must not find: her identifiers, and the profile ids made of them.
TRACES = [value for _kind, value in ADA] + [
    str(UUID(hashlib.md5(f"{kind}:{value}".encode()).hexdigest()))  # noqa: S324 - not a secret
    for kind, value in ADA
]
TRACES += ["ada%40example.org"]


def event(kind: str = "page", minutes_ago: int = 60, **more: Any) -> dict[str, Any]:
    at = (NOW - timedelta(minutes=minutes_ago)).isoformat()
    return {"type": kind, "timestamp": at, "receivedAt": at, **more}


def order(order_id: str, total: int, **more: Any) -> dict[str, Any]:
    properties = {"order_id": order_id, "total": total}
    return event("track", event="Order Completed", properties=properties, **more)


def with_email(email: str) -> dict[str, Any]:
    return {"context": {"traits": {"email": email}}}


GONE = [
    event(anonymousId="browser-ada-1", messageId="a1"),
    order("o1", 900, userId="ada-17", anonymousId="browser-ada-1", messageId="a2"),
    event(userId="ada-17", messageId="a3", **with_email("Ada@Example.org")),
    # Ada used the kiosk that Ben uses, which made it one of too many people.
    event(userId="ada-17", anonymousId="kiosk", messageId="a4"),
    event(anonymousId="cleo-phone", messageId="c1", **with_email("cleo@example.org")),
    event(anonymousId="cleo-laptop", messageId="c2", **with_email("cleo@example.org")),
]
LEFT = [
    event(userId="ben", anonymousId="kiosk", messageId="b1"),
    event(anonymousId="kiosk", messageId="b2"),
    order("o2", 700, userId="ben", messageId="b3"),
    # Only Cleo's e-mail made these one person.
    event(anonymousId="cleo-phone", messageId="c3"),
    event(anonymousId="cleo-laptop", messageId="c4"),
]
SOMEBODY_ELSE = "nevada@example.org.au"
MENTIONING = event(
    userId="dora",
    messageId="d1",
    properties={
        "invited": "ADA@example.org",
        "url": "https://shop.example/?to=ada%40example.org&x=1",
        "other": SOMEBODY_ELSE,
    },
)
MENTIONED = {
    "invited": "[erased]",
    "url": "https://shop.example/?to=[erased]&x=1",
    "other": SOMEBODY_ELSE,
}
REJECTED = (
    "insert into raw.rejected_events"
    " (received_at, source, path, code, message, body, body_encoding, batch_index)"
    " values (now(), 'test', '/v1/batch', 'x', 'x', %s, %s, %s)"
)


def quarantine(connection: psycopg.Connection[Any]) -> None:
    batch = b'{"batch": [{"userId": "ada-17", "type": 1}, {"userId": "ben", "type": 1}]}'
    bodies = [
        ('{"userId": "ada-17"}', "utf-8", 0),
        ('{"userId": "ben"}', "utf-8", 1),
        (base64.b64encode(b"\0" + b'"ada@example.org"').decode(), "base64", None),
        (batch.decode(), "utf-8", None),
    ]
    for body in bodies:
        connection.execute(REJECTED, body)
        connection.execute(
            "insert into raw.landings"
            " (received_on, source, received_count, accepted_count, rejected_count)"
            " values ((now() at time zone 'UTC')::date, 'test', 1, 0, 1)"
        )


def subscriptions(platform: Platform, crm: Receiver) -> Subscriptions:
    """Whole files with each refresh; changes as files, at night; and a receiver of webhooks."""
    changes = str(platform.settings.exports / "changes")
    options = WebhookOptions(attempts=1)
    return Subscriptions(
        (
            DestinationRow("csv", "csv", "", "", CsvOptions()),
            DestinationRow("changes", "csv", changes, "", CsvOptions()),
            DestinationRow("crm", "webhook", crm.url, "CRM_SECRET", options),
        ),
        (
            Subscription(EVERY_AUDIENCE, "csv"),
            Subscription(EVERY_AUDIENCE, "changes", mode="delta", schedule="0 3 * * *"),
            Subscription("only_ada", "crm", mode="delta"),
        ),
    )


@pytest.fixture(scope="module")
def crm() -> Iterator[Receiver]:
    receiver = Receiver()
    with receiver.running():
        yield receiver


@pytest.fixture(scope="module")
def erased(platform: Platform, crm: Receiver) -> Iterator[dict[str, Any]]:
    """Ada and Cleo were there, delivered and decided about, and have been erased. Certificates."""
    with psycopg.connect(platform.url, autocommit=True) as connection:
        for each in [*GONE[:4], *LEFT[:3], *GONE[4:], *LEFT[3:], MENTIONING, GONE[1]]:
            land(connection, [each])
        quarantine(connection)
        connection.execute(
            "insert into raw.audience_definitions (audience_key, name, definition, is_enabled)"
            """ values ('only_ada', 'Only Ada', '{"min_total_spend": 800}', true)"""
        )
    chosen = subscriptions(platform, crm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRM_SECRET", SECRET)
        patch.setattr("dagster_project.delivery_assets.read_subscriptions", lambda: chosen)
        first = refresh(platform.settings, every_schedule=True)
        assert first.success, first.message
        ada = platform.value("select profile_id from unify.profiles where user_id = 'ada-17'")
        assert str(ada) in TRACES
        assert set(crm.holdings()) == {str(ada)}
        for name in ("high_value_last_30_days", "only_ada", "changes/only_ada"):
            assert "ada@example.org" in (platform.settings.exports / f"{name}.csv").read_text()
        with psycopg.connect(platform.url) as connection:
            for profile_id, subject_id, context in (
                (ada, ada, {}),
                (None, ada, {"while": "nobody knew her"}),
                (None, None, {"gift_for": "ada@example.org"}),
            ):
                connection.execute(
                    "insert into decide.decisions (profile_id, subject_id, decision_id, experience,"
                    " rule_key, audience_keys, context, rule_version, decided_at)"
                    " values (%s::uuid, %s::uuid, gen_random_uuid(), 'a', 'a', '{}', %s, 'a',"
                    " now())",
                    [profile_id, subject_id, json.dumps(context)],
                )
        crm.default = 500
        cleo = cdp(
            platform, "erase", "--email", " Cleo@Example.org ", "--mode", "delete", "--later"
        )
        options = [f"--{kind.replace('_', '-')}={value}" for kind, value in ADA]
        printed = cdp(platform, "erase", *options)
        [request_id] = re.findall("request ([0-9a-f-]{36})", cleo)
        yield {
            "ada": json.loads(printed),
            "cleo": json.loads(cdp(platform, "erasures", request_id)),
        }


def cdp(platform: Platform, *arguments: str, exit_code: int = 0) -> str:
    """What a command says."""
    variables = {"CDP_HOME": str(platform.settings.home), "DATABASE_URL": platform.url}
    variables |= {"CDP_PRIVATE_WEBHOOKS": "true"}
    with environment_set(variables):
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == exit_code, result.output
    return result.output + (str(result.exception) if result.exception else "")


TEXT_OF_EVERY_TABLE = """
select format('%I.%I', nspname, relname)
from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid
where relkind in ('r', 'm') and nspname not in ('pg_catalog', 'information_schema')
"""


def test_no_table_says_anything_of_her(platform: Platform, erased: dict[str, Any]) -> None:
    found = []
    tables = [each["format"] for each in platform.rows(TEXT_OF_EVERY_TABLE)]
    assert len(tables) > 30
    for table in tables:
        for row in platform.rows(f"select each_row::text as text from {table} as each_row"):
            text = row["text"].lower().replace(SOMEBODY_ELSE, "")
            found += [(table, trace) for trace in TRACES if trace in text]
    assert found == []


def test_no_file_says_anything_of_her(platform: Platform, erased: dict[str, Any]) -> None:
    files = [path for path in platform.settings.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".csv" for path in files)
    assert [path for path in files if names_her(path)] == []


def names_her(path: Path) -> bool:
    content = path.read_bytes().lower()
    return any(trace.encode() in content for trace in TRACES)


def test_what_is_left_is_as_if_they_had_never_been(
    platform: Platform, erased: dict[str, Any], new_database: Callable[[], str]
) -> None:
    """A warehouse in which only the other events ever landed says the same, row for row."""
    other = new_database()
    mentioning = {**MENTIONING, "properties": MENTIONED}
    with psycopg.connect(other, autocommit=True) as connection:
        for each in [*LEFT, mentioning]:
            land(connection, [each])
    build(other, select=UNIFY, exclude="test_type:data")
    for table, key in {
        "unify.profiles": "profile_id",
        "unify.events": "event_id",
        "unify.sessions": "session_id",
        "unify.identifiers": "identifier_type, identifier_value",
    }.items():
        query = f"select * from {table} order by {key}"
        with psycopg.connect(other) as connection:
            expected = connection.execute(query).fetchall()
        assert [tuple(row.values()) for row in platform.rows(query)] == expected, table


def test_the_kiosk_is_bens_alone_now_and_cleos_devices_are_two_people(
    platform: Platform, erased: dict[str, Any]
) -> None:
    owners = {
        row["identifier_value"]: row["profile_id"]
        for row in platform.rows("select identifier_value, profile_id from unify.identifiers")
    }
    assert owners["kiosk"] == owners["ben"]
    assert owners["cleo-phone"] != owners["cleo-laptop"]


def test_the_accounting_still_adds_up(platform: Platform, erased: dict[str, Any]) -> None:
    [counted] = platform.rows(
        "select sum(received_count)::int as received, sum(accepted_count)::int as accepted,"
        " sum(rejected_count)::int as rejected, sum(erased_count)::int as erased,"
        " sum(kept_count)::int as kept, sum(duplicate_count)::int as duplicates"
        " from collect.daily_intake"
    )
    # Ada's four events, one of them sent twice, Cleo's two, and two of the quarantine.
    assert counted == {
        "received": 17,
        "accepted": 6,
        "rejected": 2,
        "erased": 9,
        "kept": 6,
        "duplicates": 0,
    }


def test_of_the_quarantine_only_what_is_hers_goes(
    platform: Platform, erased: dict[str, Any]
) -> None:
    bodies = platform.rows("select body from raw.rejected_events order by rejected_id")
    assert [row["body"] for row in bodies] == [
        '{"userId": "ben"}',
        '{"batch": [{"userId": "ben", "type": 1}]}',
    ]


def test_what_others_said_of_her_is_kept_without_her(
    platform: Platform, erased: dict[str, Any]
) -> None:
    properties = platform.value("select properties from unify.events where message_id = 'd1'")
    assert properties == MENTIONED
    assert platform.rows("select profile_id, context from decide.decisions") == [
        {"profile_id": None, "context": {"gift_for": "[erased]"}}
    ]


def test_a_certificate_says_what_went_and_names_nobody(erased: dict[str, Any]) -> None:
    certificate = erased["ada"]
    assert not any(trace in json.dumps(certificate).lower() for trace in TRACES)
    assert certificate["deleted"]["raw.events"] == 5
    assert certificate["deleted"]["raw.rejected_events"] == 2
    assert certificate["deleted"]["unify.profiles"] == 1
    assert certificate["deleted"]["decide.decisions"] == 2
    assert certificate["deleted"]["segment.audience_changes"] >= 2
    assert certificate["redacted"]["raw.events"] == 1
    assert certificate["remaining"] == {}
    assert certificate["searched"]["tables"] > 20
    salted = bytes.fromhex(certificate["salt"]) + b"email:ada@example.org"
    email = next(x for x in certificate["identifiers"] if x["identifier_type"] == "email")
    assert email["sha256"] == hashlib.sha256(salted).hexdigest()


def test_every_destination_is_told_and_who_has_not_confirmed_it_is_named(
    platform: Platform, crm: Receiver, erased: dict[str, Any]
) -> None:
    """Also those with a schedule of their own, and of an audience that nobody is left in."""
    for name in ("only_ada", "changes/only_ada"):
        lines = (platform.settings.exports / f"{name}.csv").read_text().splitlines()
        assert len(lines) == 1, "nothing but the header"
    assert [row["change"] for row in crm.requests[-1].rows] == ["exited"]
    assert erased["ada"]["outside"] == {"crm": "profiles whose exit it has not confirmed: 1"}
    assert erased["cleo"]["outside"] == {}


def test_the_requests_are_listed_without_whom_they_named(
    platform: Platform, erased: dict[str, Any]
) -> None:
    listed = cdp(platform, "erasures")
    assert listed.count("completed") == 2
    assert erased["ada"]["request_id"] in listed
    assert not any(trace in listed for trace in TRACES)


def last_check(platform: Platform) -> dg.AssetCheckEvaluation:
    with open_instance(platform.settings) as instance:
        [record] = instance.event_log_storage.get_asset_check_execution_history(
            EQUALS_FULL, limit=1
        )
    assert record.event is not None
    event = record.event.dagster_event
    assert event is not None
    return event.asset_check_evaluation_data


def test_what_refreshes_add_after_it_equals_a_full_one(
    platform: Platform, erased: dict[str, Any]
) -> None:
    """The erased ids leave no trace in the state that later runs build on."""
    with open_instance(platform.settings) as instance:
        history = instance.event_log_storage.get_asset_check_execution_history(EQUALS_FULL, limit=1)
        assert not history, "a refresh does not pay for it"
    with psycopg.connect(platform.url) as connection:
        land(connection, [event(anonymousId="cleo-phone", messageId="c5", minutes_ago=1)])
    build(platform.url, command="run")
    with psycopg.connect(platform.url) as connection:
        land(connection, [event(anonymousId="cleo-phone", userId="cleo", messageId="c6")])

    assert cdp(platform, "verify") == "Every table equals a full refresh.\n"

    metadata = last_check(platform).metadata
    assert metadata["rows unify.events"].value == len(LEFT) + 2
    assert "rows segment.audience_members" in metadata
    schemas = "select nspname from pg_namespace where nspname like 'verify%'"
    assert platform.rows(schemas) == []


def test_a_difference_fails_the_run_and_is_shown(
    platform: Platform, erased: dict[str, Any]
) -> None:
    change = "update unify.profiles set total_orders = total_orders + %s where user_id = 'ben'"
    platform.execute(change, 1)
    try:
        said = cdp(platform, "verify", exit_code=1)
    finally:
        platform.execute(change, -1)
    assert "differ from a full refresh" in said
    check = last_check(platform)
    assert check.description == "unify.profiles: 1 rows missing, 1 too many"
    assert "ben" in str(check.metadata["samples"].value)


def test_where_older_events_were_dropped_nothing_is_compared(
    platform: Platform, erased: dict[str, Any]
) -> None:
    with psycopg.connect(platform.url) as connection:
        connection.execute(
            "delete from raw.events where received_at < now() - interval '30 minutes'"
        )
        skipped = still_comparable(connection)
        connection.rollback()
    assert skipped == "Older raw events have been dropped, so that a full refresh knows less."
