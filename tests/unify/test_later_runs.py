"""How a later run writes to a table that stands, whatever has become of the table meanwhile."""

import re

import psycopg
import pytest
from dbt_common.events.base_types import EventMsg

from tests.unify.conftest import UNIFY, Warehouse
from tests.unify.test_incremental import assert_equal, snapshot
from tests.warehouse import BuildError, build, land, parsed_manifest

AS_OF = "2026-01-03T00:00:00Z"
PAGE = {"type": "page", "timestamp": "2026-01-01T00:00:00Z"}
ASKED = """
{% macro process_schema_changes(on_schema_change, source_relation, target_relation) %}
    {% do exceptions.raise_compiler_error(model.name ~ ': dbt was asked') %}
{% endmacro %}
"""
pytestmark = pytest.mark.xdist_group("later runs")


@pytest.fixture(scope="module")
def standing(module_database: str) -> str:
    """Two refreshes of one person: what follows adds to what they left."""
    with psycopg.connect(module_database, autocommit=True) as connection:
        land(connection, [PAGE | {"userId": "ada"}])
        build(module_database, select=UNIFY, exclude="test_type:data", as_of=AS_OF)
        land(connection, [PAGE | {"userId": "ada", "anonymousId": "browser"}])
    build(module_database, select=UNIFY, command="run", as_of=AS_OF)
    return module_database


@pytest.mark.parametrize(
    "change",
    [
        "add column colour text",
        "drop column event_count",
        "alter column event_count type integer",
    ],
)
def test_a_table_of_other_columns_is_left_alone_and_said(standing: str, change: str) -> None:
    model = "sessions"
    with psycopg.connect(standing) as connection:
        connection.execute(f"create table unify.kept (like unify.{model} including all)")
        connection.execute(f"insert into unify.kept select * from unify.{model}")
        connection.execute(f"alter table unify.{model} {change}".encode())
    before = Warehouse(standing).rows(f"select * from unify.{model} order by 1")
    try:
        with pytest.raises(BuildError, match=f"{model}.*(?s:.*)out of sync"):
            build(standing, select=model, command="run", as_of=AS_OF)
        assert Warehouse(standing).rows(f"select * from unify.{model} order by 1") == before
    finally:
        with psycopg.connect(standing) as connection:
            connection.execute(f"drop table unify.{model}")
            connection.execute(f"alter table unify.kept rename to {model}")


def test_dbt_is_not_asked_about_columns_where_they_are_the_same(
    standing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking is right and slow: nothing else would show that every later run does."""
    macro = parsed_manifest().macros["macro.dbt.process_schema_changes"]
    monkeypatch.setattr(macro, "macro_sql", ASKED)
    build(standing, select=UNIFY, command="run", as_of=AS_OF)


def test_what_all_models_want_to_know_is_asked_once(standing: str) -> None:
    """Asking for each is right as well, and most of the time of a run that finds little."""
    sent: list[tuple[str, str]] = []

    def watch(event: EventMsg) -> None:
        if event.info.name == "SQLQuery":
            sent.append((event.data.node_info.node_name, event.data.sql))

    build(standing, select=UNIFY, command="run", as_of=AS_OF, watch=watch)
    assert len({model for model, _ in sent}) > 20
    window = re.compile(r'select \* from "\w+"."collect"."refresh_window"\s*$')
    # All others that ask are made of it.
    assert [model for model, sql in sent if window.search(sql)] == ["stg_events"]
    indexes = [model for model, sql in sent if model != "watermark" and "pg_index" in sql]
    assert indexes == ["stg_events"]
    assert [sql for _, sql in sent if "__dbt_backup" in sql] == []


def test_a_table_that_may_grow_gains_the_column(standing: str) -> None:
    with psycopg.connect(standing) as connection:
        connection.execute("alter table collect.int_intake__by_run drop column erased_count")
    build(standing, select=UNIFY, command="run", as_of=AS_OF)
    rows = Warehouse(standing).rows(
        "select erased_count from collect.int_intake__by_run order by run"
    )
    # Nothing landed for the run that adds it.
    assert [row["erased_count"] for row in rows] == [None, None]


@pytest.mark.parametrize("relation", ["unify.profiles", "collect.daily_intake"])
def test_what_a_killed_build_left_is_in_nobodys_way_and_goes(standing: str, relation: str) -> None:
    before = snapshot(standing)
    with psycopg.connect(standing) as connection:
        connection.execute(f"create table {relation}__dbt_backup as table {relation}".encode())
    build(standing, select=relation.split(".")[1], command="run", as_of=AS_OF)
    assert_equal(before, snapshot(standing))
    assert Warehouse(standing).rows(
        "select to_regclass(%s) is null as is_gone", f"{relation}__dbt_backup"
    ) == [{"is_gone": True}]
