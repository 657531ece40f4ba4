"""`cdp up`: the whole stack in one terminal, until Ctrl-C."""

import contextlib
import os
import shlex
import sys

import psutil
from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message, Printer

from cdp.cli.terminal import console, ready_settings
from cdp.database import embedded
from cdp.errors import UserError
from cdp.service import base_url, is_port_taken, running_instance
from cdp.settings import Settings

PATIENCE_SECONDS = 10
AFTER_CODE_SERVER = frozenset({"dagster-ui", "dagster-daemon"})


class StackPrinter(Printer):  # type: ignore[misc]  # honcho ships no types
    """The labelled log. Once Ctrl-C was pressed, only what the runner says.

    Dagster's programs print a trace for whatever they were doing when they are interrupted.
    """

    is_stopping = False

    def write(self, message: Message) -> None:
        is_system = message.name == SYSTEM_PRINTER_NAME
        if is_system and str(message.data).rstrip().endswith("received"):
            self.is_stopping = True
        if is_system or not self.is_stopping:
            super().write(message)


def up() -> None:
    """Run everything until Ctrl-C: the HTTP service, the Dagster UI, schedules and sensors."""
    settings, _url = ready_settings()
    if running_instance(settings) is not None:
        raise UserError(
            f"Port {settings.port} is in use. Stop what runs there, or set CDP_PORT to another one."
        )
    if is_port_taken(settings.dagster_port):
        raise UserError(
            f"Port {settings.dagster_port} is in use. Stop what runs there, or set "
            "CDP_DAGSTER_PORT to another one."
        )
    console.print(
        f"Console       {base_url(settings)}/\n"
        f"HTTP service  {base_url(settings)}\n"
        f"Dagster UI    http://localhost:{settings.dagster_port} (ready in about half a minute)\n"
        "Ctrl-C stops everything.\n"
    )
    manager = Manager(StackPrinter(sys.stdout))
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
    from dagster_project import stack  # noqa: PLC0415

    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **stack.dagster_environment(settings)}
    socket = shlex.quote(str(stack.code_socket(settings)))
    waits = f"while [ ! -S {socket} ]; do sleep 0.2; done; "
    commands = {
        "service": [sys.executable, "-m", "cdp.local"],
        **stack.dagster_processes(settings),
    }
    return [
        (
            name,
            f"{waits if name in AFTER_CODE_SERVER else ''}exec {shlex.join(command)}",
            environment,
        )
        for name, command in commands.items()
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
