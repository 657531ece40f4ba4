"""dbt inside Dagster, on a small project of its own: what is reported, when, and what fails."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cdp.database import dbt_environment
from cdp.settings import PROJECT_DIR, Settings
from dagster_project.dbt_manifest import load_manifest
from dagster_project.dbt_models import dbt_models
from dagster_project.dbt_process import DbtError, stream_dbt
from dagster_project.dbt_translator import StageTranslator
from dagster_project.exclusive import REFRESH, exclusive

PROJECT_FILE = """
name: small
profile: cdp
models: {small: {+materialized: table, collect: {+schema: collect}, unify: {+schema: unify}}}
"""
NUMBERS = "select 1 as number union all select 2"
DOUBLED = "select number * 2 as doubled from {{ ref('numbers') }}"
ON_ITS_OWN = "select 7 as lucky"
NUMBERS_KEY = dg.AssetKey(["collect", "numbers"])
DOUBLED_KEY = dg.AssetKey(["unify", "doubled"])
ON_ITS_OWN_KEY = dg.AssetKey(["unify", "on_its_own"])


@dataclass(frozen=True)
class SmallProject:
    """Two models in a row and one beside them; tests add or replace files."""

    folder: Path
    database: str
    settings: Settings

    def write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def assets(self) -> dg.AssetsDefinition:
        manifest = load_manifest(self.folder, self.folder / "seeds", self.folder / "target")
        return dbt_models(manifest, self.folder, StageTranslator())

    def run(
        self, selection: dg.AssetSelection | None = None, on_step: Callable[..., None] = print
    ) -> dg.ExecuteInProcessResult:
        job = dg.define_asset_job("build", selection=selection or dg.AssetSelection.all())
        definitions = dg.Definitions(
            assets=[self.assets()],
            jobs=[job],
            resources={
                "settings": self.settings,
                "on_step": dg.ResourceDefinition.hardcoded_resource(on_step),
            },
        )
        return definitions.resolve_job_def("build").execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def stream(self, *arguments: str) -> Any:
        return stream_dbt(
            arguments,
            project_dir=self.folder,
            target_dir=self.folder / "target",
            environment=dbt_environment(self.database),
        )


@pytest.fixture
def project(tmp_path: Path, database: str) -> SmallProject:
    folder = tmp_path / "small"
    settings = Settings(home=tmp_path / "home", DATABASE_URL=database)
    small = SmallProject(folder, database, settings)
    real = PROJECT_DIR / "dbt_project"
    small.write("dbt_project.yml", PROJECT_FILE)
    small.write("profiles.yml", (real / "profiles.yml").read_text())
    for schema_names in ("macros/generate_schema_name.sql", "macros/warehouse/schemas.sql"):
        small.write(schema_names, (real / schema_names).read_text())
    small.write("models/collect/numbers.sql", NUMBERS)
    small.write("models/unify/doubled.sql", DOUBLED)
    small.write("models/unify/on_its_own.sql", ON_ITS_OWN)
    return small


def materialized(result: dg.ExecuteInProcessResult) -> set[dg.AssetKey]:
    return {event.materialization.asset_key for event in result.get_asset_materialization_events()}


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    [event] = result.get_step_failure_events()
    thrown = event.step_failure_data.user_failure_data
    assert thrown is not None
    return str(thrown.description)


def columns_yaml(test: str, severity: str) -> str:
    return (
        "models: [{name: numbers, columns: [{name: number, data_tests: "
        f"[{{{test}, config: {{severity: {severity}}}}}}}]}}]}}]"
    )


ONLY_ONE = "accepted_values: {arguments: {values: [1], quote: false}"


def test_a_model_is_an_asset_of_its_stage_with_rows_and_seconds(project: SmallProject) -> None:
    assets = project.assets()

    assert {key: assets.group_names_by_key[key] for key in assets.keys} == {
        NUMBERS_KEY: "collect",
        DOUBLED_KEY: "unify",
        ON_ITS_OWN_KEY: "unify",
    }
    result = project.run()
    assert result.success
    assert materialized(result) == set(assets.keys)
    [numbers] = [
        written
        for written in result.asset_materializations_for_node("dbt_models")
        if written.asset_key == NUMBERS_KEY
    ]
    assert numbers.metadata["dagster/row_count"].value == 2
    assert float(str(numbers.metadata["seconds"].value)) > 0
    compiled = Path(str(numbers.metadata["compiled_sql"].value))
    assert compiled.read_text() == NUMBERS


def test_a_passing_test_is_a_passed_check(project: SmallProject) -> None:
    project.write("models/unify/doubled.yml", DOUBLED_NOT_NULL)
    result = project.run()
    [check] = result.get_asset_check_evaluations()
    assert check.passed
    assert check.asset_key == DOUBLED_KEY
    assert check.metadata["failing_rows"].value == 0


DOUBLED_NOT_NULL = """
models: [{name: doubled, columns: [{name: doubled, data_tests: [not_null]}]}]
"""


def test_a_mild_test_that_finds_something_warns_and_stops_nothing(project: SmallProject) -> None:
    project.write("models/collect/numbers.yml", columns_yaml(ONLY_ONE, "warn") + "\n")
    result = project.run()
    [check] = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["failing_rows"].value == 1
    assert result.success
    assert DOUBLED_KEY in materialized(result)


def test_a_failed_test_fails_its_check_and_what_comes_after(project: SmallProject) -> None:
    project.write("models/collect/numbers.yml", columns_yaml(ONLY_ONE, "error") + "\n")
    result = project.run()
    [check] = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert not result.success
    assert materialized(result) == {NUMBERS_KEY, ON_ITS_OWN_KEY}
    assert "Got 1 result, configured to fail if != 0" in failure_text(result)


def test_a_failed_model_fails_with_the_databases_message(project: SmallProject) -> None:
    project.write("models/collect/numbers.sql", "select 1 / 0 as number")
    result = project.run()
    assert not result.success
    assert materialized(result) == {ON_ITS_OWN_KEY}
    assert "models/collect/numbers.sql" in failure_text(result)
    assert "division by zero" in failure_text(result)


def test_a_singular_test_over_two_models_checks_the_later_one(project: SmallProject) -> None:
    project.write(
        "tests/every_number_is_doubled.sql",
        "select number from {{ ref('numbers') }}"
        " where number * 2 not in (select doubled from {{ ref('doubled') }})",
    )
    result = project.run()
    [check] = result.get_asset_check_evaluations()
    assert (check.asset_key, check.check_name) == (DOUBLED_KEY, "every_number_is_doubled")


def test_a_selection_builds_what_was_selected_and_nothing_else(project: SmallProject) -> None:
    project.run()
    with psycopg.connect(project.database) as connection:
        connection.execute("update unify.doubled set doubled = 0")
        connection.execute("update unify.on_its_own set lucky = 0")
    result = project.run(dg.AssetSelection.assets(DOUBLED_KEY))
    assert result.success
    assert materialized(result) == {DOUBLED_KEY}
    with psycopg.connect(project.database) as connection:
        doubled = connection.execute("select sum(doubled) from unify.doubled").fetchone()
        lucky = connection.execute("select lucky from unify.on_its_own").fetchone()
    assert (doubled, lucky) == ((6,), (0,))


def test_a_check_runs_alone(project: SmallProject) -> None:
    project.write("models/unify/doubled.yml", DOUBLED_NOT_NULL)
    project.run()
    with psycopg.connect(project.database) as connection:
        connection.execute("update unify.doubled set doubled = null")
    result = project.run(dg.AssetSelection.checks_for_assets(DOUBLED_KEY))
    [check] = result.get_asset_check_evaluations()
    assert not check.passed
    assert materialized(result) == set()


def test_progress_is_told_node_by_node(project: SmallProject) -> None:
    steps: list[tuple[str, int, int]] = []
    project.run(on_step=lambda *step: steps.append(step))
    assert [(number, total) for _name, number, total in steps] == [(1, 3), (2, 3), (3, 3)]
    assert {name for name, _number, _total in steps} == {"numbers", "doubled", "on_its_own"}


def test_a_result_arrives_before_dbt_has_ended(project: SmallProject) -> None:
    project.write("models/unify/doubled.sql", DOUBLED + " where pg_sleep(2) is not null")
    arrived = {result.name: time.monotonic() for result in project.stream("build")}
    assert arrived["doubled"] - arrived["numbers"] > 1.5


def test_a_cancelled_run_cancels_its_statements(project: SmallProject) -> None:
    project.write("models/unify/doubled.sql", "select pg_sleep(60)::text from {{ ref('numbers') }}")
    with (
        contextlib.closing(project.stream("build", "--select", "numbers", "doubled")) as results,
        psycopg.connect(project.database, autocommit=True) as connection,
    ):
        assert next(results).name == "numbers"
        wait_until(lambda: sleeping(connection) == 1)
        started = time.monotonic()
        results.close()
        assert time.monotonic() - started < 10
        assert sleeping(connection) == 0


def test_a_database_that_is_away_is_said_in_dbts_words(project: SmallProject) -> None:
    nowhere = SmallProject(project.folder, "host=/nowhere dbname=cdp user=cdp", project.settings)
    with pytest.raises(DbtError, match="/nowhere"):
        list(nowhere.stream("build"))


def test_a_second_refresh_waits_and_says_for_whom(project: SmallProject) -> None:
    ended = threading.Event()
    waits: list[str] = []

    def second() -> None:
        with exclusive(project.database, REFRESH, holder="second", on_wait=waits.append):
            ended.set()

    with exclusive(project.database, REFRESH, holder="run 1234", on_wait=waits.append):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: bool(waits))
        assert not ended.is_set()
    thread.join(timeout=10)
    assert ended.is_set()
    assert waits == ["Waiting for run 1234 to end."]


def test_a_lock_that_was_given_back_keeps_nobody_waiting(project: SmallProject) -> None:
    """A server notices some time after its client that a connection was closed."""
    for number in range(50):
        holder = f"run {number}"
        with exclusive(project.database, REFRESH, holder=holder, on_wait=pytest.fail):
            pass


def test_the_manifest_is_parsed_again_only_when_a_file_changed(project: SmallProject) -> None:
    def load() -> dict[str, Any]:
        return load_manifest(project.folder, project.folder / "seeds", project.folder / "target")

    first = load()["metadata"]["invocation_id"]
    assert load()["metadata"]["invocation_id"] == first
    project.write("models/unify/one_more.sql", "select 1 as one")
    changed = load()
    assert changed["metadata"]["invocation_id"] != first
    assert "model.small.one_more" in changed["nodes"]


def test_a_project_that_does_not_parse_is_named(project: SmallProject) -> None:
    project.write("models/unify/doubled.sql", "select * from {{ ref('nobody') }}")
    with pytest.raises(DbtError, match="nobody"):
        project.assets()


def sleeping(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "select count(*) from pg_stat_activity"
        " where query like '%%pg_sleep%%' and state = 'active' and pid <> pg_backend_pid()"
        " and datname = current_database()"
    ).fetchone()
    return int(row[0]) if row else 0


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
