"""A BigQuery to test against: the emulator `local-bigquery`, in an environment of its own.

It needs CPython 3.13 and libraries that the project must not depend on.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.cloud import bigquery

from cdp.bigquery.connection import connect
from cdp.settings import Settings, load_settings
from tests.own_environment import python_with
from tests.scratch import scratch_folder

SERVER = Path(__file__).with_name("bigquery_emulator_server.py")
REQUIREMENTS = (
    "local-bigquery==0.4.0",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-spatial==1.5.5",
)
# The emulator asks for a DuckDB that these extensions are not made for.
OVERRIDES = ("duckdb==1.5.5",)
START_SECONDS = 120


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    endpoint: str
    project: str

    def settings(self, dataset: str, **others: Any) -> Settings:
        """Settings that point at this emulator, its data sets beginning with `dataset`."""
        return load_settings(
            BIGQUERY_API_ENDPOINT=self.endpoint,
            BIGQUERY_PROJECT_ID=self.project,
            BIGQUERY_DATASET=dataset,
            **others,
        )

    def client(self) -> bigquery.Client:
        return connect(self.settings("unused"))


@contextmanager
def running_emulator() -> Iterator[Emulator]:
    """An emulator, its data thrown away at the end; skips the test where it cannot be set up."""
    python = python_with("bigquery-emulator", REQUIREMENTS, version="3.13", overrides=OVERRIDES)
    # It syncs every statement to disk, which nobody needs here.
    yield from _serve(python, scratch_folder("bigquery"))


def _serve(python: Path, folder: Path) -> Iterator[Emulator]:
    port, grpc_port = _free_port(), _free_port()
    log = folder / "emulator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(str(python), str(SERVER), "serve", "--host", "127.0.0.1"),
                *("--port", str(port), "--grpc-port", str(grpc_port)),
                *("--project", "cdp", "--data-dir", str(folder / "data")),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_until_up(process, endpoint, log)
        yield Emulator(endpoint, "cdp")
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{endpoint}/bigquery/v2/projects/cdp/datasets", timeout=5).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"The BigQuery emulator did not start:\n{log.read_text()[-2000:]}")
