"""With CDP_ENGINE=bigquery Dagster loads raw before dbt and publishes after it, and only then."""

import re
from typing import Any

import dagster as dg
import pytest

from cdp.engine import dbt_variables
from cdp.settings import PROJECT_DIR, SettingsError, load_settings
from dagster_project.definitions import definitions

PROFILES = ["unify", "profiles"]
PUBLISHED_BY = dg.AssetKey(["bigquery", "decide", "watermark"])


def asset_graph() -> Any:
    return definitions().get_repository_def().asset_graph


def ancestors(graph: Any, key: dg.AssetKey) -> set[dg.AssetKey]:
    found: set[dg.AssetKey] = set()
    waiting = [key]
    while waiting:
        for parent in graph.get(waiting.pop()).parent_keys - found:
            found.add(parent)
            waiting.append(parent)
    return found


@pytest.fixture
def on_bigquery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_ENGINE", "bigquery")
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "cdp")


@pytest.mark.usefixtures("on_bigquery")
def test_what_is_delivered_comes_from_bigquery_by_way_of_postgresql() -> None:
    graph = asset_graph()
    way = ancestors(graph, dg.AssetKey(["activate", "deliveries"]))
    for path in (
        ["segment", "audience_members"],
        ["bigquery", "segment", "audience_members"],
        ["bigquery", "decide", "watermark"],
        ["bigquery", "raw", "events"],
        ["raw", "events"],
    ):
        assert dg.AssetKey(path) in way
    assert dg.AssetKey(["bigquery", *PROFILES]) in graph.get(dg.AssetKey(PROFILES)).parent_keys


@pytest.mark.usefixtures("on_bigquery")
def test_every_table_that_services_read_is_published() -> None:
    graph = asset_graph()
    published = {
        ".".join(key.path)
        for key in graph.get_all_asset_keys()
        if dg.AssetKey(["bigquery", *key.path]) in graph.get(key).parent_keys
    }
    read = set()
    for path in (PROJECT_DIR / "dagster_project").rglob("*.py"):
        read |= set(re.findall(r"\b(?:from|join)\s+((?:unify|segment)\.[a-z_]+)", path.read_text()))
    assert len(read) > 5
    assert read - published == set()


@pytest.mark.usefixtures("on_bigquery")
def test_what_is_made_of_the_tables_of_services_is_made_in_postgresql() -> None:
    graph = asset_graph()
    way = ancestors(graph, dg.AssetKey(["decide", "decision_report"]))
    assert {dg.AssetKey(["decide", "decision_results"]), PUBLISHED_BY} <= way
    assert not graph.has(dg.AssetKey(["bigquery", "decide", "decision_results"]))


def test_without_it_nothing_of_bigquery_is_there() -> None:
    assert not [key for key in asset_graph().get_all_asset_keys() if "bigquery" in key.path[0]]


def test_dbt_is_told_the_engine_and_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dbt_variables(load_settings())["CDP_ENGINE"] == "postgres"
    given = {"BIGQUERY_PROJECT_ID": "p", "BIGQUERY_DATASET": "other"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CDP_ENGINE", "bigquery")
    variables = dbt_variables(load_settings())
    assert {name: variables[name] for name in given} == given
    assert variables["CDP_ENGINE"] == "bigquery"


def test_an_unknown_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_ENGINE", "oracle")
    with pytest.raises(SettingsError, match="CDP_ENGINE is 'oracle'"):
        load_settings()


def test_differences_between_warehouses_are_macros_of_their_own_folder() -> None:
    dbt_project = PROJECT_DIR / "dbt_project"
    elsewhere = [
        str(path.relative_to(dbt_project))
        for folder in ("models", "macros", "tests")
        for path in (dbt_project / folder).rglob("*")
        if path.suffix in (".sql", ".yml")
        and dbt_project / "macros" / "warehouse" not in path.parents
        and re.search(r"target\.type|target\[.type|adapter\.type\(\)", path.read_text())
    ]
    assert elsewhere == []
