"""docker-compose.yml as far as it can be proven without Docker: valid, closed, its commands run.

Not run here: the build of the image, and the services inside containers.
"""

import asyncio
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from cdp.postgres import EmbeddedPostgres
from cdp.settings import PROJECT_DIR, Settings
from dagster_project.serving.audience_rebuilds import JOB, PARTITIONS
from dagster_project.serving.dagster_runs import DagsterRuns
from dagster_project.stages import STAGES

COMPOSE = PROJECT_DIR / "docker-compose.yml"
DEPLOYED = PROJECT_DIR / "deploy" / "dagster"
SECRETS = ("DATABASE_PASSWORD", "INGEST_PASSWORD", "SERVING_PASSWORD", "DAGSTER_PASSWORD")
INTERPOLATION = re.compile(r"\$\{(?P<name>[A-Z_]+)(?P<rest>[^}]*)\}")


def services() -> dict[str, dict[str, Any]]:
    loaded = yaml.safe_load(interpolated())
    return dict(loaded["services"])


def interpolated() -> str:
    return INTERPOLATION.sub(lambda found: found["name"].lower(), COMPOSE.read_text())


OURS = sorted(set(services()) - {"postgres"})


def test_it_is_valid_by_the_compose_specification() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="compose-spec has Linux wheels only")
    parsed = compose_spec.PyOptions(apply_merge=True).from_yaml(interpolated())
    parsed.validate()
    assert sorted(parsed.service_names()) == sorted(services())


def test_it_refuses_to_start_without_each_password() -> None:
    found = list(INTERPOLATION.finditer(COMPOSE.read_text()))
    assert {match["name"] for match in found} == {f"CDP_{secret}" for secret in SECRETS}
    for match in found:
        assert match["rest"].startswith(":?"), f"{match['name']} has a default"


@pytest.mark.parametrize("name", OURS)
def test_a_service_cannot_write_into_its_image_or_gain_rights(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-file"]


@pytest.mark.parametrize("name", sorted(set(services()) - {"migrate"}))
def test_a_service_that_stays_has_a_health_check(name: str) -> None:
    assert services()[name]["healthcheck"]["test"][0] == "CMD"


def test_the_image_does_not_run_as_root() -> None:
    lines = (PROJECT_DIR / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER cdp"]


def test_the_image_copies_only_what_exists() -> None:
    for line in (PROJECT_DIR / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in shlex.split(line)[1:-1]:
                assert (PROJECT_DIR / source).exists(), line


def test_the_services_know_only_their_own_login() -> None:
    for name, own in (("ingest", "cdp_ingest"), ("serving", "cdp_serving")):
        environment = services()[name]["environment"]
        urls = [value for key, value in environment.items() if "DATABASE_URL" in key]
        assert len(urls) == 2
        assert all(url.startswith(f"postgresql://{own}:") for url in urls)


def test_only_ingest_is_reachable_from_other_machines() -> None:
    published = {name: service.get("ports", []) for name, service in services().items()}
    everywhere = [
        name
        for name, ports in published.items()
        if any(not port.startswith("127.0.0.1:") for port in ports)
    ]
    assert everywhere == ["ingest"]


def test_dagster_is_configured_as_on_one_machine_but_for_its_storage() -> None:
    deployed = yaml.safe_load((DEPLOYED / "dagster.yaml").read_text())
    local = yaml.safe_load((PROJECT_DIR / "dagster_project" / "dagster.yaml").read_text())
    for key in ("storage", "local_artifact_storage", "compute_logs"):
        del deployed[key]
    assert deployed == local


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres) -> EmbeddedPostgres:
    """The cluster with the databases of the compose file: `composed` for cdp, and Dagster's."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database composed")
        connection.execute("create database dagster")
    return cluster


@contextmanager
def running(
    name: str, server: EmbeddedPostgres, folder: Path, port: int, workspace: Path | None = None
) -> Iterator[None]:
    """The service's own command and environment, with this machine's addresses, until healthy."""
    service = services()[name]
    environment = local_environment(service.get("environment", {}), server, folder, port)
    command = local_command(service["command"], port, workspace)
    health = local_command(service["healthcheck"]["test"][1:], port, workspace)
    log = folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=PROJECT_DIR, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(health, env=environment, capture_output=True, check=False).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def local_environment(
    environment: Mapping[str, Any], server: EmbeddedPostgres, folder: Path, port: int
) -> dict[str, str]:
    chosen = {key: str(value) for key, value in environment.items() if value is not None}
    for key, value in chosen.items():
        login = re.fullmatch(r"postgresql://(\w+):\w+@postgres:5432/(\w+)", value)
        if login:
            user, database = login.groups()
            user = "cdp" if user == "dagster" else user
            chosen[key] = server.url("composed" if database == "cdp" else database, user)
    if "CDP_PORT" in chosen:
        chosen["CDP_PORT"] = str(port)
    home = {"CDP_HOME": str(folder), "DAGSTER_HOME": str(folder)}
    return os.environ | home | chosen


def local_command(command: list[str], port: int, workspace: Path | None) -> list[str]:
    changed = [sys.executable if part == "python" else part for part in command]
    changed = [re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", part) for part in changed]
    if "--port" in changed:
        changed[changed.index("--port") + 1] = str(port)
    if "--workspace" in changed:
        changed[changed.index("--workspace") + 1] = str(workspace)
    return changed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_services_start_with_their_own_logins(server: EmbeddedPostgres, tmp_path: Path) -> None:
    migrate = services()["migrate"]
    owner = local_environment(migrate["environment"], server, tmp_path, 0)
    make_key = ["python", "-m", "cdp", "keys", "create", "web"]
    make_token = ["python", "-m", "cdp", "tokens", "create", "shop"]
    for command in (migrate["command"], make_key, make_token):
        subprocess.run(
            local_command(command, 0, None), env=owner, cwd=PROJECT_DIR, check=True, timeout=60
        )
    for name in ("ingest", "serving"):
        port = free_port()
        with running(name, server, tmp_path, port):
            assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def deployed_dagster(folder: Path) -> tuple[Path, Path, int, int]:
    """Dagster's folder and workspace as deployed, on this machine, and ports of code and web."""
    state = folder / "state"
    state.mkdir()
    configuration = (DEPLOYED / "dagster.yaml").read_text()
    (state / "dagster.yaml").write_text(configuration.replace("/var/lib/cdp", str(folder)))
    code_port, web_port = free_port(), free_port()
    workspace = state / "workspace.yaml"
    deployed = (DEPLOYED / "workspace.yaml").read_text()
    here = deployed.replace("host: dagster-code", "host: 127.0.0.1")
    workspace.write_text(here.replace("port: 4266", f"port: {code_port}"))
    return state, workspace, code_port, web_port


def test_dagsters_three_programs_find_one_another_and_take_runs_over_graphql(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    state, workspace, code_port, web_port = deployed_dagster(tmp_path)
    dagster = f"http://127.0.0.1:{web_port}"
    with (
        running("dagster-code", server, state, code_port),
        running("dagster-webserver", server, state, web_port, workspace),
    ):
        # No daemon is there yet: a run waits in the queue and can be taken back.
        asyncio.run(ask_for_a_run(dagster))
        with running("dagster-daemon", server, state, 0, workspace):
            query = {"query": "{assetNodes {groupName}}"}
            answer = httpx.post(f"{dagster}/graphql", json=query, timeout=60)
            groups = {node["groupName"] for node in answer.json()["data"]["assetNodes"]}
            assert groups == set(STAGES)


async def ask_for_a_run(dagster: str) -> None:
    """As the read side does for POST /audiences/{id}/rebuild."""
    runs = DagsterRuns(Settings(dagster_url=dagster, dagster_public_url="https://dagster.example"))
    try:
        for key in ("vip", "vip", "it's new"):
            run_id = await runs.start_partition(JOB, PARTITIONS, key)
            assert runs.address(run_id) == f"https://dagster.example/runs/{run_id}"
            assert await runs.status(run_id) == "queued"
            taken_back = httpx.post(
                f"{dagster}/graphql",
                json={
                    "query": "mutation ($run: String!) { terminateRun(runId: $run,"
                    " terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }",
                    "variables": {"run": run_id},
                },
                timeout=60,
            )
            assert taken_back.json()["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess"
            assert await runs.status(run_id) == "canceled"
        assert await runs.status("00000000-0000-0000-0000-000000000000") is None
    finally:
        await runs.close()
