"""Load over HTTP for benchmarks: `wrk` (Debian package of that name) and the services it drives."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Measured:
    """What wrk saw: requests per second and the 99th percentile of their latency."""

    requests_per_second: float
    p99_ms: float


def best(rounds: Sequence[Measured]) -> Measured:
    """The fastest round, with the shortest tail of all."""
    return Measured(
        max(run.requests_per_second for run in rounds), min(run.p99_ms for run in rounds)
    )


def run_wrk(
    url: str,
    script: Path,
    seconds: int,
    connections: int,
    variables: Mapping[str, str],
    *,
    timeout_seconds: int = 2,
) -> Measured:
    """Drive a service with one thread of wrk and read its report.

    An answer that is an error, or takes longer than the timeout, ends the program.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    report = subprocess.run(
        [*command, f"--timeout={timeout_seconds}s", "-s", str(script), url],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in report or "Socket errors" in report:
        sys.exit(f"wrk met errors:\n{report}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", report)
    assert rate, report
    assert p99, report
    unit_ms = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99.group(2)]
    return Measured(float(rate.group(1)), float(p99.group(1)) * unit_ms)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    arguments: Sequence[str], port: int, folder: Path | None, variables: Mapping[str, str]
) -> Iterator[str]:
    """Run a Python program that serves HTTP on `port`; yield its address once it is ready.

    An answer other than 503 to /ready is taken for that: not every program has the address.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/ready").status_code != 503:
                return
        time.sleep(0.1)
    sys.exit(f"{url} did not start")
