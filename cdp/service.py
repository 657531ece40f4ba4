"""The HTTP service as the commands see it: is it up, is it ours, run it for as long as needed."""

import contextlib
import hashlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from cdp.database import database_url
from cdp.errors import UserError
from cdp.settings import Settings

START_SECONDS = 60


def base_url(settings: Settings) -> str:
    """Where the service answers, as a person on this machine types it."""
    host = "localhost" if settings.listens_on_loopback else settings.host
    return f"http://{host}:{settings.port}"


def instance_name(settings: Settings) -> str:
    """A short name of the database behind a service, so that two clones are not taken for one."""
    return hashlib.sha256(database_url(settings).encode()).hexdigest()[:12]


def running_instance(settings: Settings) -> str | None:
    """The instance name that answers on the service's port, "" for a stranger, None for nobody."""
    try:
        reply = httpx.get(f"{base_url(settings)}/health", timeout=2)
        return str(reply.json().get("instance", ""))
    except httpx.ConnectError:
        return None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError):
        return ""


@contextlib.contextmanager
def running_service(settings: Settings) -> Iterator[str]:
    """The address of the service: of the one that already runs, or of one run for this block.

    Raises UserError when another program holds the port, or when the service does not come up.
    """
    instance = running_instance(settings)
    if instance == instance_name(settings):
        yield base_url(settings)
        return
    if instance is not None:
        whose = "the service of another project folder" if instance else "another program"
        raise UserError(
            f"Port {settings.port} is held by {whose}. Stop it, or choose another port: "
            f"CDP_PORT={_free_port()}"
        )
    log_file = settings.home / "service.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cdp.local"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the command, which stops the service in order
        )
    try:
        _wait_until_up(settings, process, log_file)
        yield base_url(settings)
    finally:
        stop_process(process)


def _wait_until_up(settings: Settings, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if running_instance(settings) is not None:
            return
        time.sleep(0.1)
    tail = "".join(log_file.read_text(errors="replace").splitlines(keepends=True)[-12:])
    raise UserError(f"The HTTP service did not start. The end of {log_file}:\n{tail}")


def stop_process(process: subprocess.Popen[bytes], patience_seconds: float = 15) -> None:
    """End a child in order: SIGTERM lets it answer what it has accepted, then SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_port_taken(port: int) -> bool:
    """Whether somebody listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
