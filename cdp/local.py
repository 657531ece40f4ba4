"""Both HTTP sides on one port, for one machine. In production each is a service of its own.

`python -m cdp.local` serves them. The write side's addresses go to it, everything else to the read
side; `/health` says which database this is, `/ready` is ready when both sides are, and `/metrics`
has what both count.
"""

import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import dagster_project.serving.app
import ingest.app
from cdp.access_tokens import ACCESS_TOKENS
from cdp.pauses import keep_imported
from cdp.service import instance_name
from cdp.settings import Settings, SettingsError, load_settings
from ingest.logs import configure_logging
from ingest.server import serve

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BothSides:
    """An ASGI application that hands each request to the side that owns its path."""

    def __init__(self, settings: Settings) -> None:
        self.write_side = ingest.app.create_app(settings)
        self.read_side = dagster_project.serving.app.create_app(settings)
        self.shared = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/ready", self._ready),
                Route("/metrics", self._metrics),
                Mount("/", self.read_side),
            ],
            lifespan=self._lifespan,
        )
        self._instance = instance_name(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_write = scope["type"] == "http" and ingest.app.serves(scope["path"])
        await (self.write_side if is_write else self.shared)(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with (
            self.write_side.router.lifespan_context(self.write_side),
            self.read_side.router.lifespan_context(self.read_side),
        ):
            yield

    async def _health(self, _request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "instance": self._instance})

    async def _metrics(self, _request: Request) -> Response:
        metrics = self.write_side.state.metrics
        metrics.queue_events.set(self.write_side.state.writer.held_events)
        both = metrics.exposition() + self.read_side.state.exposition()
        return Response(both, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _ready(self, _request: Request) -> JSONResponse:
        sides = {"write": self.write_side, "read": self.read_side}
        ready = {name: await _is_ready(app) for name, app in sides.items()}
        is_ready = all(ready.values())
        return JSONResponse(
            {"status": "ready" if is_ready else "unavailable", **ready},
            status_code=200 if is_ready else 503,
            headers={} if is_ready else {"Retry-After": "1"},
        )


async def _is_ready(app: Any) -> bool:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://side") as client:
        return (await client.get("/ready")).status_code == 200


def create_app() -> BothSides:
    """The application from the environment, for the server."""
    configure_logging()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log each look at /ready
    app = BothSides(load_settings())
    keep_imported()
    return app


def main() -> int:
    """Serve both sides until SIGTERM or SIGINT; return the exit status."""
    try:
        ACCESS_TOKENS.require_one(load_settings())
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return serve("cdp.local:create_app")


if __name__ == "__main__":
    sys.exit(main())
