"""Load over HTTP for benchmarks: `wrk` (Debian package of that name) and the services it drives."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

# Longer than any measurement that something else ends.
LONGEST_SECONDS = 3600


class LoadError(SystemExit):
    """Some answers were errors, or took longer than the timeout; the message is wrk's report."""


@dataclass(frozen=True)
class Measured:
    """What wrk saw: requests per second, and of their latency the 99th percentile and the most."""

    requests_per_second: float
    p99_ms: float
    slowest_ms: float


def best(rounds: Sequence[Measured]) -> Measured:
    """The fastest round, with the shortest tail of all."""
    return Measured(
        max(run.requests_per_second for run in rounds),
        min(run.p99_ms for run in rounds),
        min(run.slowest_ms for run in rounds),
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

    Raises LoadError, which ends the program, when an answer is an error or takes longer than the
    timeout.
    """
    command = _wrk(url, script, seconds, connections, timeout_seconds)
    environment = {**os.environ, **variables}
    report = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return _read(report)


def run_wrk_while(
    other: subprocess.Popen[bytes],
    url: str,
    script: Path,
    connections: int,
    variables: Mapping[str, str],
    *,
    timeout_seconds: int = 2,
) -> Measured:
    """As run_wrk, for as long as another process runs."""
    command = _wrk(url, script, LONGEST_SECONDS, connections, timeout_seconds)
    environment = {**os.environ, **variables}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as load:
        try:
            other.wait(LONGEST_SECONDS)
        finally:
            # wrk reports what it has measured.
            load.send_signal(signal.SIGINT)
        report, _nothing = load.communicate(timeout=60)
    return _read(report)


def _wrk(url: str, script: Path, seconds: int, connections: int, timeout_seconds: int) -> list[str]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    return [*command, f"--timeout={timeout_seconds}s", "-s", str(script), url]


def _read(report: str) -> Measured:
    if "Non-2xx" in report or "Socket errors" in report:
        raise LoadError(f"wrk met errors:\n{report}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", report)
    # The line of the thread: mean, deviation, greatest.
    slowest = re.search(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", report)
    assert rate, report
    assert p99, report
    assert slowest, report
    return Measured(float(rate.group(1)), _milliseconds(p99), _milliseconds(slowest))


def _milliseconds(found: re.Match[str]) -> float:
    return float(found.group(1)) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found.group(2)]


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
