"""The programs of Dagster for one machine: code server, web server, daemon.

The web server and the daemon could each load the code themselves, but the daemon then starts a new
process for it every minute (measured: 6 s of processor time each) and each holds its own copy
(240 MB). One code server, reached over a socket, serves both, and the UI's "Reload definitions"
makes it read changed models and parse the dbt project again.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from cdp.settings import Settings
from dagster_project.instance import dagster_home

LOCATION = "cdp"
MODULE = "dagster_project.definitions"
SOCKET_PATH_LIMIT = 100  # a unix socket's path may have 107 bytes

WORKSPACE = """\
# Written by `cdp up` each time it starts.
load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """The variables that Dagster's programs need beside the ones that are set already."""
    return {
        "DAGSTER_HOME": str(dagster_home(settings)),
        "CDP_HOME": str(settings.home),
    }


def dagster_processes(settings: Settings) -> dict[str, list[str]]:
    """The command line of each program by its name.

    Each ends within about five seconds of SIGTERM and takes its children along. The other two
    complain at length until the code server listens on `code_socket`: start them after it. Call
    this only when none of them runs: it takes the code server's place on the socket.
    """
    home = dagster_home(settings)
    socket = code_socket(settings)
    socket.unlink(missing_ok=True)  # a killed server leaves it behind
    workspace = home / "workspace.yaml"
    workspace.write_text(WORKSPACE.format(socket=socket, location=LOCATION))
    python = [sys.executable, "-m"]
    # At "warning" both would print a long trace for each moment that the code server starts in.
    quiet = ["--log-level", "error"]
    return {
        "dagster-code": [
            *(*python, "dagster", "code-server", "start", "-m", MODULE),
            *("--socket", str(socket), "--location-name", LOCATION, *quiet),
        ],
        "dagster-ui": [
            *(*python, "dagster_webserver", "-w", str(workspace)),
            *("-h", settings.host, "-p", str(settings.dagster_port), *quiet),
        ],
        "dagster-daemon": [*python, "dagster._daemon", "run", "-w", str(workspace), *quiet],
    }


def code_socket(settings: Settings) -> Path:
    """Where the code server listens: beside Dagster's state, or a short path where that is long."""
    home = dagster_home(settings)
    beside = home / "code.sock"
    if len(str(beside)) <= SOCKET_PATH_LIMIT:
        return beside
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cdp-dagster-{os.getuid()}-{digest}.sock"
