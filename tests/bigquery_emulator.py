"""A BigQuery to test against: the emulator `local-bigquery`, in an environment of its own.

It needs CPython 3.13 and libraries that the project must not depend on, so the first test that asks
for it makes that environment under .cache/ (seconds, with uv's cache) and later ones find it there.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
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
from cdp.settings import PROJECT_DIR, Settings, load_settings

CACHE = PROJECT_DIR / ".cache"
SERVER = Path(__file__).with_name("bigquery_emulator_server.py")
REQUIREMENTS = (
    "local-bigquery==0.4.0",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-spatial==1.5.5",
)
# The emulator asks for a DuckDB that these extensions are not made for.
OVERRIDES = ("duckdb==1.5.5",)
IN_MEMORY = "/dev/shm"  # noqa: S108
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
    python = _environment()
    # It syncs every statement to disk, which nobody needs here: in memory where that is a folder.
    folder_in_memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="cdp-bigquery-", dir=folder_in_memory) as folder:
        yield from _serve(python, Path(folder))


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


def _environment() -> Path:
    """The Python of the emulator's environment, made when it is not there yet."""
    digest = hashlib.sha256("\n".join(REQUIREMENTS + OVERRIDES).encode()).hexdigest()[:12]
    folder = CACHE / f"bigquery-emulator-{digest}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "bigquery-emulator.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _install(folder: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    python = _python_3_13()
    if python is None:
        pytest.skip("the BigQuery emulator needs CPython 3.13, and none was found")
    subprocess.run([uv, "venv", "--quiet", "--python", str(python), str(folder)], check=True)
    overrides = folder / "overrides.txt"
    overrides.write_text("\n".join(OVERRIDES))
    installed = subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")),
            *("--overrides", str(overrides), *REQUIREMENTS),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        pytest.skip(f"the BigQuery emulator could not be installed: {installed.stderr[-500:]}")


def _python_3_13() -> Path | None:
    candidates = [shutil.which("python3.13"), shutil.which("python3"), sys.executable]
    if pyenv := shutil.which("pyenv"):
        command = [pyenv, "prefix", "3.13"]
        found = subprocess.run(command, check=False, capture_output=True, text=True)
        candidates.append(str(Path(found.stdout.strip()) / "bin" / "python3.13"))
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            command = [candidate, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 13))"]
            if not subprocess.run(command, check=False, capture_output=True).returncode:
                return Path(candidate)
    return None


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
