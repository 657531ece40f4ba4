"""The graph as an operator reads it, and the run queue before it."""

import dagster as dg
import pytest
import yaml

from dagster_project.definitions import definitions
from dagster_project.instance import DELIVERS, TEMPLATE
from dagster_project.stages import OWNERS, STAGES


@pytest.fixture(scope="module")
def specs() -> list[dg.AssetSpec]:
    return list(definitions().resolve_all_asset_specs())


def test_every_asset_says_what_it_is_and_who_is_asked_about_it(specs: list[dg.AssetSpec]) -> None:
    assert len(specs) > 40
    for spec in specs:
        assert spec.group_name in STAGES, spec.key
        assert spec.description, spec.key
        assert spec.kinds, spec.key
        assert spec.owners == OWNERS[spec.group_name], spec.key


def test_every_job_schedule_and_sensor_says_what_it_does() -> None:
    repository = definitions().get_repository_def()
    jobs = [repository.get_job(name) for name in repository.job_names if name[:2] != "__"]
    assert [job.name for job in jobs if not job.description] == []
    assert [sensor.name for sensor in repository.sensor_defs if not sensor.description] == []
    assert [each.name for each in repository.schedule_defs if not each.description] == []


def test_deliveries_leave_a_place_to_the_refresh() -> None:
    queue = yaml.safe_load(TEMPLATE.read_text())["concurrency"]["runs"]
    [limit] = [each for each in queue["tag_concurrency_limits"] if each["key"] == DELIVERS]
    assert limit["limit"] < queue["max_concurrent_runs"]
    repository = definitions().get_repository_def()
    tagged = {name for name in repository.job_names if DELIVERS in repository.get_job(name).tags}
    assert tagged == {
        "activate_all",
        "activate_scheduled",
        "export_bigquery",
        "resend_failed",
        "retry_deliveries",
    }
