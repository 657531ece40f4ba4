"""All audiences to a destination, as the job `refresh` delivers them, and one partition alone."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cdp.settings import Settings
from dagster_project.delivery_assets import audience_asset, audience_asset_key, deliveries
from dagster_project.progress import unobserved
from dagster_project.subscriptions import read_subscriptions
from tests.activate.conftest import Person, Tables


class Delivering:
    """Runs the two assets against one database, one folder and one Dagster instance."""

    def __init__(self, tables: Tables, folder: Path, instance: dg.DagsterInstance) -> None:
        self.tables = tables
        self.folder = folder
        self.instance = instance
        self.resources = {
            "settings": Settings(home=folder, export_dir=folder, DATABASE_URL=tables.database),
            "on_step": dg.ResourceDefinition.hardcoded_resource(unobserved),
        }

    def everything(self) -> dg.ExecuteInProcessResult:
        return self._run([deliveries])

    def one(self, audience_key: str) -> dg.ExecuteInProcessResult:
        subscriptions = read_subscriptions()
        asset = audience_asset(subscriptions.destination("csv"), subscriptions)
        return self._run([asset], partition_key=audience_key)

    def _run(
        self, assets: list[dg.AssetsDefinition], partition_key: str | None = None
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            assets,
            partition_key=partition_key,
            instance=self.instance,
            resources=self.resources,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def files(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.csv")}

    def partitions(self) -> set[str]:
        return set(self.instance.get_dynamic_partitions("audience"))

    def materialized_partitions(self) -> set[str]:
        return set(self.instance.get_materialized_partitions(audience_asset_key("csv")))


@pytest.fixture
def delivering(tables: Tables, tmp_path: Path) -> Iterator[Delivering]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Delivering(tables, tmp_path / "exports", instance)


def test_every_audience_gets_its_file_and_its_partition(
    delivering: Delivering, tables: Tables
) -> None:
    tables.put("vip", [Person("ada@example.com")], audience_id=1)
    tables.put("lapsed", [], audience_id=2)
    result = delivering.everything()
    assert result.success
    assert delivering.files() == {"vip.csv", "lapsed.csv"}
    assert delivering.partitions() == {"vip", "lapsed"}
    assert delivering.materialized_partitions() == {"vip", "lapsed"}


def test_one_audience_that_fails_does_not_keep_the_others(
    delivering: Delivering, tables: Tables
) -> None:
    tables.put("broken", [Person("ada@example.com")], audience_id=1)
    tables.execute("delete from unify.profiles")
    tables.put("vip", [Person("bob@example.com")], audience_id=2)
    result = delivering.everything()
    assert not result.success
    assert delivering.files() == {"vip.csv"}
    assert delivering.materialized_partitions() == {"vip"}
    [event] = result.get_step_failure_events()
    thrown = event.step_failure_data.user_failure_data
    assert thrown is not None
    assert str(thrown.description).startswith("csv broken: Audience broken has 1 members, but 0")


def test_an_audience_that_is_gone_is_withdrawn(delivering: Delivering, tables: Tables) -> None:
    tables.put("vip", [Person("ada@example.com")], audience_id=1)
    tables.put("lapsed", [], audience_id=2)
    delivering.everything()
    tables.execute("update segment.audiences set is_enabled = false where audience_id = 2")
    (delivering.folder / "notes.csv").write_text("somebody else's file")
    assert delivering.everything().success
    assert delivering.files() == {"vip.csv", "notes.csv"}
    assert delivering.partitions() == {"vip"}
    assert ("withdrawn", 0, None) in tables.deliveries()


def test_an_audience_that_is_only_defined_keeps_its_partition(
    delivering: Delivering, tables: Tables
) -> None:
    """A run that is to build it may be queued behind the refresh that delivers."""
    tables.put("vip", [Person("ada@example.com")])
    tables.execute(
        "insert into raw.audience_definitions (audience_key, name, definition, is_enabled) values"
        " ('new', 'New', '{}', true), ('rejected', 'Rejected', '{}', false)"
    )
    delivering.instance.add_dynamic_partitions("audience", ["new", "rejected", "forgotten"])
    assert delivering.everything().success
    assert delivering.partitions() == {"vip", "new"}


def test_no_audience_at_all_withdraws_nothing(delivering: Delivering, tables: Tables) -> None:
    tables.put("vip", [Person("ada@example.com")])
    delivering.everything()
    tables.execute("delete from segment.audiences")
    assert delivering.everything().success
    assert delivering.files() == {"vip.csv"}
    assert delivering.partitions() == {"vip"}


def test_an_audience_that_was_never_built_waits(delivering: Delivering, tables: Tables) -> None:
    tables.put("vip")
    tables.execute("update segment.audiences set last_built_at = null, built_version = null")
    assert delivering.everything().success
    assert delivering.files() == set()


def test_one_partition_writes_one_file(delivering: Delivering, tables: Tables) -> None:
    tables.put("vip", [Person("ada@example.com")], audience_id=1)
    tables.put("lapsed", [], audience_id=2)
    delivering.instance.add_dynamic_partitions("audience", ["vip", "lapsed"])
    result = delivering.one("vip")
    [event] = result.get_asset_materialization_events()
    assert result.success
    assert event.partition == "vip"
    assert event.materialization.metadata["dagster/row_count"].value == 1
    assert delivering.files() == {"vip.csv"}
