"""Raw events reach BigQuery once each, whatever ends early, and what cannot work says why."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from cdp.bigquery import raw_load
from cdp.bigquery.connection import BigQueryError, connect, explained
from cdp.bigquery.raw_load import load_raw, storable
from cdp.bigquery.raw_tables import dataset_name
from cdp.settings import Settings, SettingsError, load_settings
from tests.warehouse import land

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def events(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "track",
            "event": "Order Completed",
            "userId": name,
            "messageId": name,
            "properties": {"total": 12.5, "note": 'a "quoted"\nline, ü, \\'},
        }
        for name in names
    ]


@pytest.fixture
def client(settings: Settings) -> bigquery.Client:
    client = connect(settings)
    client.create_dataset(dataset_name(settings, "raw"))
    return client


def landed(database: str, *names: str) -> None:
    with psycopg.connect(database) as connection:
        land(connection, events(*names), received_at=NOON)


def loaded_ids(client: bigquery.Client, settings: Settings) -> list[str]:
    rows = client.query_and_wait(
        f"select message_id from `{settings.bigquery_dataset}_raw.events`"
        " where received_at > '2000-01-01' order by message_id"
    )
    return [row["message_id"] for row in rows]


def ledger(client: bigquery.Client, settings: Settings) -> list[dict[str, Any]]:
    rows = client.query_and_wait(
        f"select * from `{settings.bigquery_dataset}_raw.loads` order by from_xid"
    )
    return [dict(row) for row in rows]


def test_each_call_loads_what_is_new_and_ranges_follow_one_another(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a", "b")
    assert load_raw(settings, database).events == 2
    landed(database, "c")
    assert load_raw(settings, database).events == 1
    assert load_raw(settings, database).events == 0
    assert loaded_ids(client, settings) == ["a", "b", "c"]
    ranges = ledger(client, settings)
    assert [each["event_count"] for each in ranges] == [2, 1, 0]
    assert [each["to_xid"] for each in ranges[:-1]] == [each["from_xid"] for each in ranges[1:]]
    assert all(each["loaded_at"] for each in ranges)


def test_a_row_arrives_as_it_is_in_postgresql(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a")
    load_raw(settings, database)
    [row] = client.query_and_wait(
        f"select * from `{settings.bigquery_dataset}_raw.events` where received_at > '2000-01-01'"
    )
    with psycopg.connect(database) as connection:
        known = connection.execute(
            "select xid::text::bigint, seq, occurred_at, payload, phone from raw.events"
        ).fetchone()
    assert (row["xid"], row["seq"], row["occurred_at"], row["payload"], row["phone"]) == known


def test_a_large_backlog_goes_in_several_ranges(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    for number in range(5):
        landed(database, f"{number}-a", f"{number}-b")
    loaded = load_raw(settings, database, most_events=3)
    assert (loaded.events, loaded.ranges) == (10, 3)
    assert len(loaded_ids(client, settings)) == 10


def test_a_transaction_that_commits_late_is_loaded_by_a_later_call(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "first")
    with psycopg.connect(database) as late:
        land(late, events("late"), received_at=NOON)
        landed(database, "early")
        load_raw(settings, database)
        assert loaded_ids(client, settings) == ["first"]
    load_raw(settings, database)
    assert loaded_ids(client, settings) == ["early", "first", "late"]


def die_before_the_mark(patch: pytest.MonkeyPatch) -> None:
    """End a load where everything of its range is there and the ledger does not say so yet."""
    query = bigquery.Client.query_and_wait

    def die(self: Any, sql: str, **options: Any) -> Any:
        if sql.startswith("update"):
            raise KeyboardInterrupt
        return query(self, sql, **options)

    patch.setattr(bigquery.Client, "query_and_wait", die)


@pytest.mark.parametrize("step", ["plan", "events", "landings", "mark"])
def test_a_load_that_ends_early_is_finished_without_repeating_anything(
    step: str,
    database: str,
    settings: Settings,
    client: bigquery.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    landed(database, "a", "b")
    submit = bigquery.Client.load_table_from_file

    def die_after(self: Any, *arguments: Any, **options: Any) -> Any:
        job = submit(self, *arguments, **options)
        job.result()
        if f"-{step}-" in str(options["job_id"]):
            raise KeyboardInterrupt
        return job

    with monkeypatch.context() as dying:
        dying.setattr(bigquery.Client, "load_table_from_file", die_after)
        if step == "mark":
            die_before_the_mark(dying)
        with pytest.raises(KeyboardInterrupt):
            load_raw(settings, database)
    assert [each["loaded_at"] for each in ledger(client, settings)] == [None]

    # More lands meanwhile: the range that was begun must stay the one that it was.
    landed(database, "c")
    load_raw(settings, database)
    assert loaded_ids(client, settings) == ["a", "b", "c"]
    [[landings]] = client.query_and_wait(
        f"select sum(accepted_count) from `{settings.bigquery_dataset}_raw.landings`"
    )
    assert landings == 3
    assert all(each["loaded_at"] for each in ledger(client, settings))


def test_a_job_that_fails_says_why_and_is_tried_anew_by_the_next_call(
    database: str, settings: Settings, client: bigquery.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(database, "a")
    with monkeypatch.context() as broken:
        broken.setattr(raw_load, "storable", lambda _line: b"not json")
        with pytest.raises(BigQueryError, match=r"Could not load .*events"):
            load_raw(settings, database)
    assert [each["loaded_at"] for each in ledger(client, settings)] == [None]
    load_raw(settings, database)
    assert loaded_ids(client, settings) == ["a"]


def test_an_answer_that_fails_to_come_repeats_no_job_that_succeeded(
    database: str, settings: Settings, client: bigquery.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(database, "a")

    def unavailable(*_arguments: Any, **_options: Any) -> Any:
        raise exceptions.ServiceUnavailable("try again")  # type: ignore[no-untyped-call]

    with monkeypatch.context() as dying:
        die_before_the_mark(dying)
        with pytest.raises(KeyboardInterrupt):
            load_raw(settings, database)
    small_tables = "cdp.bigquery.raw_load._Loader.replace_small_tables"
    with monkeypatch.context() as away:
        away.setattr(small_tables, lambda _self: None)
        away.setattr(bigquery.LoadJob, "result", unavailable)
        with pytest.raises(BigQueryError, match="try again"):
            load_raw(settings, database)
    load_raw(settings, database)
    assert loaded_ids(client, settings) == ["a"]


def test_tables_without_their_ledger_are_not_loaded_again(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a")
    load_raw(settings, database)
    client.delete_table(f"{settings.bigquery_dataset}_raw.loads")
    for _ in range(2):
        with pytest.raises(BigQueryError, match="which says what was loaded, was not there"):
            load_raw(settings, database)
    assert loaded_ids(client, settings) == ["a"]


def test_nobody_at_the_address_is_said_with_what_to_check() -> None:
    nobody = Settings(BIGQUERY_PROJECT_ID="cdp", BIGQUERY_API_ENDPOINT="http://127.0.0.1:9")
    with (
        pytest.raises(BigQueryError, match=r"(?s)Could not look.*Nobody answered"),
        explained("look"),
    ):
        connect(nobody).get_table("cdp.a.b", retry=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"BIGQUERY_PROJECT_ID": "../x"}, {"BIGQUERY_API_ENDPOINT": "nonsense"}]
)
def test_settings_that_name_nothing_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        load_settings(**wrong)


def test_definitions_that_were_sent_are_replaced_whole(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    insert = (
        "insert into raw.audience_definitions (audience_key, name, definition, is_enabled)"
        " values ('a', %s, '{}', true)"
    )
    for name in ("before", "after"):
        with psycopg.connect(database) as connection:
            connection.execute(insert, [name])
        load_raw(settings, database)
    rows = client.query_and_wait(
        f"select name from `{settings.bigquery_dataset}_raw.audience_definitions`"
        " order by definition_id"
    )
    assert [row["name"] for row in rows] == ["before", "after"]


def test_a_missing_data_set_is_named_with_the_command_that_creates_it(
    database: str, settings: Settings
) -> None:
    with pytest.raises(BigQueryError, match=f"{settings.bigquery_dataset}_raw") as caught:
        load_raw(settings, database)
    assert "cdp bigquery setup" in str(caught.value)


def test_a_column_of_another_type_stops_the_load_before_anything_is_loaded(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a")
    client.query_and_wait(
        f"create table `{settings.bigquery_dataset}_raw.events` (xid string, received_at timestamp)"
    )
    with pytest.raises(BigQueryError, match="the column xid is STRING there and INT64"):
        load_raw(settings, database)


def test_a_column_that_is_new_in_postgresql_is_added(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a")
    load_raw(settings, database)
    with psycopg.connect(database) as connection:
        connection.execute("alter table raw.events add column shop text")
    landed(database, "b")
    with psycopg.connect(database) as connection:
        connection.execute("update raw.events set shop = 'Ulm' where message_id = 'b'")
    load_raw(settings, database)
    rows = client.query_and_wait(
        f"select message_id, shop from `{settings.bigquery_dataset}_raw.events`"
        " where received_at > '2000-01-01' order by message_id"
    )
    assert [(row["message_id"], row["shop"]) for row in rows] == [("a", None), ("b", "Ulm")]


def test_a_column_that_was_dropped_there_is_not_taken_for_a_new_one(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a")
    load_raw(settings, database)
    client.query_and_wait(
        f"alter table `{settings.bigquery_dataset}_raw.events` drop column user_id"
    )
    landed(database, "b")
    with pytest.raises(BigQueryError, match="has rows and no column user_id any more"):
        load_raw(settings, database)
    assert loaded_ids(client, settings) == ["a"]


def test_another_cluster_is_not_taken_for_the_one_that_was_loaded(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a")
    load_raw(settings, database)
    client.query_and_wait(
        f"update `{settings.bigquery_dataset}_raw.loads` set system_identifier = 1 where true"
    )
    with pytest.raises(BigQueryError, match="was loaded from the PostgreSQL cluster 1"):
        load_raw(settings, database)


def test_a_table_made_anew_is_not_taken_for_the_one_that_was_loaded(
    database: str, settings: Settings, client: bigquery.Client
) -> None:
    landed(database, "a")
    load_raw(settings, database)
    client.delete_table(f"{settings.bigquery_dataset}_raw.events")
    with pytest.raises(BigQueryError, match="which says that it was loaded before"):
        load_raw(settings, database)


def test_a_key_file_that_is_none_is_named(tmp_path: Any) -> None:
    path = tmp_path / "key.json"
    path.write_text("{}")
    given = {"BIGQUERY_PROJECT_ID": "p", "GOOGLE_APPLICATION_CREDENTIALS": path}
    with pytest.raises(BigQueryError, match=r"GOOGLE_APPLICATION_CREDENTIALS is .*key\.json"):
        connect(Settings(**given))


def test_a_server_that_refuses_is_quoted_with_what_to_do(
    database: str, settings: Settings, client: bigquery.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(database, "a")

    def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise exceptions.Forbidden("Quota exceeded: too many imports")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(bigquery.Client, "load_table_from_file", refuse)
    with pytest.raises(BigQueryError, match="Quota exceeded") as caught:
        load_raw(settings, database)
    assert "a quota is used up" in str(caught.value)


def test_numbers_that_bigquery_cannot_hold_become_ones_that_it_can() -> None:
    line = (
        '{"a": 123456789012345678901234567890, "b": 0.12345678901234567890, "c": 1e400, "d": "1e5"}'
    )
    kept = storable(line)
    assert kept == b'{"a":1.2345678901234568e29,"b":0.12345678901234568,"c":"1e400","d":"1e5"}'
    assert storable('{"a": 1.10}') == b'{"a": 1.10}'
