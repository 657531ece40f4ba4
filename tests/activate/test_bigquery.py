"""The public tables in BigQuery, by the official client against the emulator."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from google.api_core.exceptions import GoogleAPIError

from cdp.bigquery.connection import BigQueryError
from cdp.settings import Settings
from dagster_project import warehouse_export
from dagster_project.defs.warehouse_export import export_asset
from dagster_project.destinations.bigquery_tables import (
    BigQueryTables,
    open_tables,
)
from dagster_project.destinations.parquet import write_parquet
from dagster_project.warehouse_export import (
    EXPORTED,
    Exported,
    export_key,
    export_table,
    update_copies,
)
from tests.activate.conftest import Tables

TABLES = {table.name: table for table in EXPORTED}
PUBLIC_TABLES = """
alter table segment.audience_changes add column change_number integer;
create table unify.profile_changes (old_profile_id uuid, profile_id uuid, changed_at timestamptz);
create table unify.events (
    event_id uuid primary key, profile_id uuid, event_type text, properties jsonb,
    occurred_at timestamptz
);
insert into segment.audiences (audience_id, audience_key, last_built_at) values (1, 'vip', now());
insert into unify.profiles (profile_id, email, total_spend, last_seen_at, traits)
select
    md5(number::text)::uuid, case when number > 1 then 'p' || number || '@example.com' end,
    number + 0.123456789, timestamptz '2026-03-01 12:00:00.123456+00',
    jsonb_build_object('plan', 'gold', 'odd', E'a "quoted"\\nline, 漢字', 'empty', '')
from generate_series(1, 5) as number;
insert into unify.events
select md5('e' || number)::uuid, md5(number::text)::uuid, 'Order Completed',
    jsonb_build_object('revenue', number + 0.5, 'wide', 0.12345678901234567890),
    timestamptz '2026-03-01' + number * interval '1 day'
from generate_series(1, 5) as number;
insert into segment.audience_members select 1, profile_id, now() from unify.profiles;
insert into segment.audience_changes
select 1, profile_id, 'entered', timestamptz '2026-03-01', 1 from unify.profiles;
"""


class Exporting:
    """Exports tables of one database into a data set that begins empty."""

    def __init__(self, tables: Tables, settings: Settings, opened: BigQueryTables) -> None:
        self.tables = tables
        self.settings = settings
        self.opened = opened
        for name in TABLES:
            opened.drop(name)

    def export(self, name: str) -> Exported:
        return export_table(
            self.tables.database, self.settings, self.opened, TABLES[name], holder="test"
        )

    def rows(self, name: str, columns: str = "*") -> list[dict[str, Any]]:
        query = f"select {columns} from `{self.opened.address(name)}` order by 1"
        return [dict(row) for row in self.opened.client.query(query).result()]


@pytest.fixture
def exporting(
    tables: Tables, bigquery_settings: Settings, bigquery_tables: BigQueryTables
) -> Exporting:
    tables.execute(PUBLIC_TABLES)
    return Exporting(tables, bigquery_settings, bigquery_tables)


def test_every_table_arrives_typed_partitioned_and_clustered(exporting: Exporting) -> None:
    for name in TABLES:
        assert exporting.export(name).how == "whole"
    types = {
        column.name: column.field_type
        for column in exporting.opened.client.get_table(exporting.opened.address("profiles")).schema
    }
    assert types["traits"] == "JSON"
    assert types["total_spend"] == "NUMERIC"
    assert types["last_seen_at"] == "TIMESTAMP"
    assert types["total_orders"] == "INTEGER"
    events = exporting.opened.client.get_table(exporting.opened.address("events"))
    assert events.time_partitioning.field == "occurred_at"
    assert events.clustering_fields == ["event_type", "profile_id", "event_id"]
    [(stored,)] = exporting.tables.rows(
        "select jsonb_object_agg(profile_id, jsonb_build_array(email, total_spend::text,"
        " traits ->> 'odd', traits ->> 'empty')) from unify.profiles"
    )
    arrived = {
        row["profile_id"]: [
            row["email"],
            str(row["total_spend"]),
            row["traits"]["odd"],
            row["traits"]["empty"],
        ]
        for row in exporting.rows("profiles", "profile_id, email, total_spend, traits")
    }
    assert arrived == stored


def test_later_only_what_was_written_travels(exporting: Exporting) -> None:
    for name in ("profiles", "audience_members"):
        exporting.export(name)
        assert exporting.export(name).how == "unchanged"
    exporting.tables.execute(
        """
        update unify.profiles set email = 'new@example.com' where email = 'p2@example.com';
        insert into unify.profile_changes
        select profile_id, null, now() from unify.profiles where email = 'p3@example.com';
        insert into segment.audience_changes
        select 1, profile_id, 'exited', now(), 2 from unify.profiles where email = 'p3@example.com';
        delete from segment.audience_members using unify.profiles
        where audience_members.profile_id = profiles.profile_id and email = 'p3@example.com';
        delete from unify.profiles where email = 'p3@example.com';
        """
    )
    exported = exporting.export("profiles")
    assert (exported.how, exported.rows, exported.row_count) == ("incremental", 2, 4)
    emails = {row["email"] for row in exporting.rows("profiles", "email")}
    assert emails == {None, "new@example.com", "p4@example.com", "p5@example.com"}
    exported = exporting.export("audience_members")
    assert (exported.how, exported.rows, exported.row_count) == ("incremental", 1, 4)


def test_a_new_column_is_added(exporting: Exporting) -> None:
    exporting.export("profiles")
    exporting.tables.execute(
        "alter table unify.profiles add column city text;"
        " update unify.profiles set city = 'Rome' where email = 'p2@example.com'"
    )
    assert exporting.export("profiles").how == "incremental"
    assert [row["city"] for row in exporting.rows("profiles", "email, city")].count("Rome") == 1


def test_rows_that_left_without_a_trace_are_noticed_by_their_number(exporting: Exporting) -> None:
    exporting.export("profiles")
    exporting.tables.execute("delete from unify.profiles where email = 'p3@example.com'")
    exported = exporting.export("profiles")
    assert (exported.how, exported.row_count) == ("whole", 4)


def test_a_load_job_that_fails_half_way_leaves_the_table_and_is_made_good(
    exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting.export("profiles")
    before = exporting.rows("profiles", "profile_id, email")
    exporting.tables.execute("update unify.profiles set email = 'new@example.com'")

    def write_half(snapshot: Any, fields: Any, source: Any, path: Path) -> int:
        rows = write_parquet(snapshot, fields, source, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(warehouse_export, "write_parquet", write_half)
        with pytest.raises(GoogleAPIError):
            exporting.export("profiles")
    assert exporting.rows("profiles", "profile_id, email") == before
    assert exporting.export("profiles").how == "incremental"
    assert {row["email"] for row in exporting.rows("profiles", "email")} == {"new@example.com"}


def test_an_erasure_brings_every_copy_up_to_date_and_names_what_is_out_of_reach(
    exporting: Exporting,
) -> None:
    for name in TABLES:
        exporting.export(name)
    exporting.tables.execute(
        """
        delete from unify.events using unify.profiles
        where events.profile_id = profiles.profile_id and email = 'p3@example.com';
        delete from segment.audience_members using unify.profiles
        where audience_members.profile_id = profiles.profile_id and email = 'p3@example.com';
        delete from segment.audience_changes using unify.profiles
        where audience_changes.profile_id = profiles.profile_id and email = 'p3@example.com';
        delete from unify.profiles where email = 'p3@example.com';
        insert into activate.warehouse_exports
        select 'another.cdp.events', row_count, exported_at, exported_xid, system_identifier
        from activate.warehouse_exports limit 1;
        """
    )
    copies = update_copies(exporting.tables.database, exporting.settings, holder="test")
    assert copies.updated == tuple(exporting.opened.address(name) for name in TABLES)
    assert list(copies.outside) == ["another.cdp.events"]
    for name in ("profiles", "events", "audience_members", "audience_changes"):
        assert len(exporting.rows(name, "profile_id")) == 4


def test_a_copy_that_nobody_can_reach_any_more_is_named(exporting: Exporting) -> None:
    exporting.export("profiles")
    copies = update_copies(
        exporting.tables.database, Settings(BIGQUERY_PROJECT_ID=None), holder="test"
    )
    assert copies.updated == ()
    assert list(copies.outside) == [exporting.opened.address("profiles")]


def test_no_staging_table_is_left(exporting: Exporting) -> None:
    exporting.export("profiles")
    exporting.tables.execute("update unify.profiles set email = 'new@example.com'")
    exporting.export("profiles")
    names = [table.table_id for table in exporting.opened.client.list_tables("cdp")]
    assert [name for name in names if "staging" in name] == []


def test_a_table_of_profiles_may_have_another_name(exporting: Exporting) -> None:
    exporting.settings = exporting.settings.model_copy(
        update={"bigquery_table_profiles": "customers"}
    )
    exporting.export("profiles")
    assert exporting.opened.count("customers") == 5
    assert not exporting.opened.exists("profiles")
    exporting.opened.drop("customers")


def export_asset_once(exporting: Exporting) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [export_asset(TABLES["profiles"])],
            instance=instance,
            resources={"settings": exporting.settings},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )


def test_the_asset_says_how_many_rows_there_are(exporting: Exporting) -> None:
    result = export_asset_once(exporting)
    [event] = result.asset_materializations_for_node("activate__bigquery_profiles")
    assert event.metadata["dagster/row_count"].value == 5
    [evaluation] = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert evaluation.asset_key == dg.AssetKey(export_key(TABLES["profiles"]))


def test_rows_that_somebody_else_writes_there_fail_the_check_and_the_run(
    exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = BigQueryTables.replace

    def replace_and_meddle(opened: BigQueryTables, table: str, *arguments: Any) -> None:
        replace(opened, table, *arguments)
        stranger = f"insert into `{opened.address(table)}` (profile_id) values ('stranger')"
        opened.client.query(stranger).result()

    with monkeypatch.context() as patched:
        patched.setattr(BigQueryTables, "replace", replace_and_meddle)
        result = export_asset_once(exporting)
    assert not result.success
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert "has 5 rows, its table in BigQuery 6 after a whole load" in str(evaluation.description)
    # Nothing of it is built upon: the next export is whole, and right.
    assert export_asset_once(exporting).success
    assert exporting.opened.count("profiles") == 5


def test_without_a_project_the_error_says_what_to_set() -> None:
    with pytest.raises(BigQueryError, match="BIGQUERY_PROJECT_ID is not set"):
        open_tables(Settings())


@pytest.mark.parametrize("content", [None, "", "{}", '{"type": "service_account"}'])
def test_wrong_credentials_are_named_before_anything_is_read(
    tmp_path: Path, content: str | None
) -> None:
    key = tmp_path / "key.json"
    if content is not None:
        key.write_text(content)
    settings = Settings(BIGQUERY_PROJECT_ID="local", GOOGLE_APPLICATION_CREDENTIALS=key)
    with pytest.raises(BigQueryError, match="GOOGLE_APPLICATION_CREDENTIALS is "):
        open_tables(settings)


def test_every_statement_has_a_cost_guard(
    bigquery_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = bigquery_settings.model_copy(update={"bigquery_maximum_bytes_billed": 10_000_000})
    opened = open_tables(limited)
    asked: list[int | None] = []

    def query(_client: Any, _statement: str, job_config: Any) -> Any:
        asked.append(job_config.maximum_bytes_billed)
        raise GoogleAPIError("not in a test")

    monkeypatch.setattr(type(opened.client), "query", query)
    with pytest.raises(GoogleAPIError, match="not in a test"):
        opened.count("profiles")
    assert asked == [10_000_000]
    opened.client.close()  # type: ignore[no-untyped-call]
