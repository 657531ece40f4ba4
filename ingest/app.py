"""The write side as an ASGI application: addresses, start and end."""

import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cdp.database import database_url
from cdp.settings import Settings
from ingest.arrival import Rules
from ingest.body import BodyReader
from ingest.collect import Collector, Endpoint
from ingest.credentials import WriteKeys
from ingest.metrics import Metrics
from ingest.wire import CALLS
from ingest.writer import Writer

log = logging.getLogger(__name__)

# Everything that a browser SDK sends along; `anonymousid` and `sentat` are RudderStack's.
CORS_HEADERS = ("authorization", "content-type", "content-encoding", "anonymousid", "sentat")
CORS_HEADERS_AND_KEY = (*CORS_HEADERS, "x-write-key")

# What a dispatcher that serves several applications on one port hands to this one.
PATHS = frozenset({*CALLS, "/openapi/ingest.json"})
PATH_PREFIXES = ("/api/s/", "/v1/projects/", "/sourceConfig")


def serves(path: str) -> bool:
    """Whether a path belongs to the write side. /health, /ready and /metrics belong to both."""
    return path in PATHS or path.startswith(PATH_PREFIXES)


def create_app(settings: Settings) -> Starlette:
    """Build the application. `app.state.collector` and `.writer` are there for a dispatcher."""
    metrics = Metrics()
    keys = WriteKeys(is_loopback=settings.listens_on_loopback)
    writer = Writer(
        database_url(settings, "ingest"),
        metrics,
        queue_events=settings.queue_events,
        queue_bytes=settings.queue_bytes,
        commit_timeout_seconds=settings.commit_timeout_seconds,
        chores=[(settings.write_key_refresh_seconds, keys.refresh)],
    )
    reader = BodyReader(
        settings.max_body_bytes, settings.reading_bytes, settings.body_timeout_seconds
    )
    collector = Collector(Rules.from_settings(settings), reader, keys, writer, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        writer.start()
        try:
            yield
        finally:
            await writer.stop()

    routes = [
        *(Route(path, Endpoint(collector, path), methods=["POST"]) for path in CALLS),
        Route("/api/s/{kind:path}", Endpoint(collector, "/api/s"), methods=["POST"]),
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", exposition),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origin_regex=".*",
                allow_credentials=True,
                allow_methods=["GET", "POST"],
                allow_headers=CORS_HEADERS_AND_KEY,
                expose_headers=["Retry-After"],
                max_age=86_400,
            )
        ],
        exception_handlers={HTTPException: http_error, Exception: server_error},
        lifespan=lifespan,
    )
    app.state.writer = writer
    app.state.metrics = metrics
    app.state.keys = keys
    return app


async def health(_request: Request) -> JSONResponse:
    """The process is alive."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> JSONResponse:
    """Events can be stored now: 200, else 503."""
    is_ready = request.app.state.writer.is_ready
    return JSONResponse(
        {"status": "ready" if is_ready else "unavailable", "database": is_ready},
        status_code=200 if is_ready else 503,
        headers={} if is_ready else {"Retry-After": "1"},
    )


async def exposition(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    metrics = request.app.state.metrics
    metrics.queue_events.set(request.app.state.writer.held_events)
    return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def http_error(_request: Request, error: Exception) -> JSONResponse:
    """Starlette's own errors (404, 405) in the form of all others."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    codes = {404: "not_found", 405: "method_not_allowed"}
    messages = {404: "There is nothing at this address.", 405: "This address takes another method."}
    return JSONResponse(
        {
            "code": codes.get(status, "http_error"),
            "message": messages.get(status, "The request cannot be answered."),
        },
        status_code=status,
        headers=headers,
    )


async def server_error(_request: Request, _error: Exception) -> JSONResponse:
    """A mistake of ours; the traceback goes to the log."""
    return JSONResponse(
        {"code": "internal_error", "message": "The service failed; the event was not stored."},
        status_code=500,
    )
