"""The graph as an operator reads it."""

import dagster as dg
import pytest

from dagster_project.definitions import definitions
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
