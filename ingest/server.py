"""`python -m ingest`: the write side alone, with one or more worker processes."""

import contextlib
import resource
import sys

import uvicorn
from starlette.applications import Starlette

from cdp.pauses import keep_imported
from cdp.settings import Settings, SettingsError, load_settings
from cdp.write_keys import WRITE_KEYS
from ingest.app import create_app
from ingest.logs import configure_logging
from ingest.metrics import shared_by_workers
from ingest.protocol import BoundedProtocol

# Longer than a load balancer keeps an idle connection, which would otherwise use one just closed.
KEEP_ALIVE_SECONDS = 75


def create_worker() -> Starlette:
    """The application of one worker process, from the environment."""
    configure_logging()
    app = create_app(load_settings())
    keep_imported()
    return app


def main() -> int:
    """Serve until SIGTERM or SIGINT; what was received is stored before the end."""
    return serve("ingest.server:create_worker", has_workers=True)


def serve(factory: str, *, has_workers: bool = False) -> int:
    """Run an application that collects, named as `module:function`; return the exit status.

    With `has_workers` it runs in as many processes as the settings say.
    """
    configure_logging()
    try:
        settings = load_settings()
        WRITE_KEYS.require_one(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _allow_many_connections()
    workers = settings.ingest_workers if has_workers else 1
    with shared_by_workers() if workers > 1 else contextlib.nullcontext():
        _run(factory, settings, workers)
    return 0


def _run(factory: str, settings: Settings, workers: int) -> None:
    uvicorn.run(
        factory,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=4096,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=30,
    )


def _allow_many_connections() -> None:
    """Raise the limit of open files, often 1,024, as far as the system lets us."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
