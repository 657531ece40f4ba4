"""The stages of the dbt project: every model has one, and none reads a later one."""

from collections.abc import Iterator
from typing import Any

import pytest

from dagster_project.dbt_manifest import load_manifest
from dagster_project.stages import STAGES, stage_of

# What dbt-core calls resources that read others; tests and exposures may look at everything.
READERS = ("model", "seed", "snapshot")
PUBLIC_TABLES = (
    "unify.profiles",
    "unify.events",
    "unify.sessions",
    "unify.identifiers",
    "unify.profile_changes",
    "segment.audiences",
    "segment.audience_members",
    "segment.audience_changes",
)


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return load_manifest()


def nodes(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for node in manifest["nodes"].values():
        if node["resource_type"] in READERS:
            yield node


def test_every_model_and_seed_belongs_to_a_stage(manifest: dict[str, Any]) -> None:
    strays = [
        node["original_file_path"]
        for node in nodes(manifest)
        if stage_of(node["schema"]) not in STAGES
    ]
    assert strays == []


def test_a_model_lies_in_the_folder_of_its_stage(manifest: dict[str, Any]) -> None:
    strays = [
        node["original_file_path"]
        for node in nodes(manifest)
        if node["resource_type"] == "model" and node["fqn"][1] != node["schema"]
    ]
    assert strays == []


def test_no_stage_reads_what_a_later_one_computes(manifest: dict[str, Any]) -> None:
    # Seeds are rules kept in git, there before any stage runs: refresh_window reads those of unify
    # to notice that they have changed.
    everything = manifest["nodes"] | manifest["sources"]
    backwards = [
        f"{node['schema']}.{node['name']} reads {parent['schema']}.{parent['name']}"
        for node in nodes(manifest)
        for parent in (everything[each] for each in manifest["parent_map"][node["unique_id"]])
        if parent["resource_type"] != "seed"
        and STAGES.index(stage_of(parent["schema"])) > STAGES.index(stage_of(node["schema"]))
    ]
    assert backwards == []


def test_the_watermark_comes_after_every_public_table(manifest: dict[str, Any]) -> None:
    above: set[str] = set()
    waiting = ["model.cdp.watermark"]
    while waiting:
        for parent in manifest["parent_map"].get(waiting.pop(), []):
            if parent not in above:
                above.add(parent)
                waiting.append(parent)
    behind = {
        f"{node['schema']}.{node['alias']}"
        for node in nodes(manifest)
        if node["unique_id"] in above
    }
    assert set(PUBLIC_TABLES) - behind == set()
