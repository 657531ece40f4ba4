"""`cdp up`: the whole stack in one terminal, until Ctrl-C."""

import contextlib
import os
import shlex
import sys

import psutil
from honcho.manager import Manager

from cdp.cli.terminal import console, ready_settings
from cdp.database import embedded
from cdp.errors import UserError
from cdp.service import base_url, running_instance
from cdp.settings import Settings

PATIENCE_SECONDS = 10


def up() -> None:
    """Run everything until Ctrl-C: the HTTP service, the Dagster UI, schedules and sensors."""
    settings, _url = ready_settings()
    if running_instance(settings) is not None:
        raise UserError(
            f"Port {settings.port} is in use. Stop what runs there, or set CDP_PORT to another one."
        )
    console.print(
        f"HTTP service  {base_url(settings)}\n"
        f"Dagster UI    http://localhost:{settings.dagster_port} (ready in about 20 seconds)\n"
        "Ctrl-C stops everything.\n"
    )
    manager = Manager()
    for name, command, environment in stack_processes(settings):
        manager.add_process(name, command, env=environment)
    try:
        manager.loop()
    finally:
        end_children()
        server = embedded(settings)
        if server:
            server.stop()
            console.print("The database has stopped.")
    # Ctrl-C is how this command ends; anything else is a process that fell over.
    raise SystemExit(0 if manager.returncode == 130 else manager.returncode)


def stack_processes(settings: Settings) -> list[tuple[str, str, dict[str, str]]]:
    """The processes of the stack as (name, shell command, environment)."""
    # Slow to import, and only this command needs it.
    from dagster_project.stack import dagster_environment, dagster_processes  # noqa: PLC0415

    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **dagster_environment(settings)}
    commands = {
        "service": [sys.executable, "-m", "cdp.local"],
        **dagster_processes(settings),
    }
    return [
        (name, f"exec {shlex.join(command)}", environment) for name, command in commands.items()
    ]


def end_children() -> None:
    """End every process that the stack started, also those that left their parent's group."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    _gone, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
