"""The write side as an ASGI application: addresses, start and end."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cdp.database import database_url
from cdp.settings import Settings
from ingest.answers import Send
from ingest.arrival import Rules
from ingest.body import BodyReader, Receive
from ingest.browser import rudderstack_source_config, segment_settings
from ingest.collect import Collector, Endpoint, Scope
from ingest.credentials import WriteKeys
from ingest.metrics import Metrics
from ingest.openapi import openapi_document
from ingest.rate_limit import RateLimit
from ingest.wire import CALLS, JITSU
from ingest.writer import Writer

# What a dispatcher that serves several applications on one port hands to this one.
OPENAPI = "/openapi/ingest.json"
PATHS = frozenset({*CALLS, OPENAPI, "/sourceConfig"})
PATH_PREFIXES = (JITSU, "/v1/projects/")


def serves(path: str) -> bool:
    """Whether a path belongs to the write side. /health, /ready and /metrics belong to both."""
    return _is_ours(path) or _is_ours(_without_more_slashes(path))


def _is_ours(path: str) -> bool:
    return path in PATHS or path.startswith(PATH_PREFIXES)


def _without_more_slashes(path: str) -> str:
    """What is meant where a host was configured with a slash at its end, or an address was."""
    return "/" + "/".join(part for part in path.split("/") if part)


class WriteSide(Starlette):
    """Starlette, with a short cut for the addresses that take events.

    A POST to one of them goes straight to its endpoint. Starlette's routing and its three layers
    of middleware cost about as much as everything else that is done for an event.
    """

    def __init__(self, endpoints: dict[str, Endpoint], **options: Any) -> None:
        super().__init__(**options)
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as every ASGI application does."""
        if scope["type"] == "http":
            if not _is_ours(scope["path"]):
                scope = {**scope, "path": _without_more_slashes(scope["path"])}
            if scope["method"] == "POST":
                path = scope["path"]
                endpoint = self._endpoints.get(JITSU if path.startswith(JITSU) else path)
                if endpoint:
                    await endpoint(scope, receive, send)
                    return
        await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> WriteSide:
    """Build the application. `app.state.writer.is_ready` tells whether it can store."""
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
    collector = Collector(
        rules=Rules.from_settings(settings),
        reader=reader,
        keys=keys,
        writer=writer,
        metrics=metrics,
        rate_limit=RateLimit(settings.rate_limit_events),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await writer.start()
        try:
            yield
        finally:
            await writer.stop()

    endpoints = {path: Endpoint(collector, path) for path in (*CALLS, JITSU)}
    routes = [
        *(Route(path, endpoints[path], methods=["POST"]) for path in CALLS),
        Route(f"{JITSU}{{kind:path}}", endpoints[JITSU], methods=["POST"]),
        Route("/v1/projects/{write_key}/settings", segment_settings),
        Route("/sourceConfig", rudderstack_source_config),
        Route(OPENAPI, openapi),
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", exposition),
    ]
    app = WriteSide(
        endpoints,
        routes=routes,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origin_regex=".*",  # echoed, because a browser takes no * with credentials
                allow_credentials=True,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],  # SDKs add headers of their own, such as X-Retry-Count
                expose_headers=["Retry-After"],
                max_age=86_400,
            )
        ],
        exception_handlers={HTTPException: http_error, Exception: server_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # behind a proxy the redirect would name the wrong scheme
    app.state.writer = writer
    app.state.metrics = metrics
    return app


async def openapi(_request: Request) -> JSONResponse:
    """The description of these addresses."""
    return JSONResponse(openapi_document())


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
