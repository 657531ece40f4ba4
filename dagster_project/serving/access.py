"""Who may ask what: access tokens with scopes, and how often each may ask."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.responses import Response

from cdp.hashed_secrets import hash_secret
from cdp.settings import Settings
from dagster_project.serving.background import again_and_again, end
from dagster_project.serving.database import Database
from dagster_project.serving.errors import RequestError, json_response
from dagster_project.serving.metrics import Metrics

TOKENS = """
select
    tokens.access_token_id,
    tokens.scopes,
    tokens.token_hash,
    raw.has_access_tokens() as were_made
from raw.active_access_tokens() as tokens
right join (select) as always on true
"""
# Whether the process lives, what it counts, and how to ask: as on the write side, for everybody.
# The console asks for a token itself and reads through the other addresses with it.
PUBLIC = frozenset({"/health", "/ready", "/metrics", "/openapi/serving.json"})
# Questions that take a body.
READING_POSTS = frozenset({"/audiences/preview"})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def needed_scope(method: str, path: str) -> str | None:
    """The scope that a request needs; None for what is public."""
    if path in PUBLIC or path == "/" or path.startswith("/console/"):
        return None
    if path == "/decide":
        return "decide"
    return "read" if method in ("GET", "HEAD") or path in READING_POSTS else "manage"


class AccessTokens:
    """The active tokens, as last read from the database; they stay while it is away.

    On loopback, as long as no token was ever made, everybody may ask everything.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._is_loopback = settings.listens_on_loopback
        self._every_seconds = settings.write_key_refresh_seconds
        self._tokens: dict[bytes, tuple[bytes, int, frozenset[str]]] = {}
        self._is_open = False
        self._were_read = False
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._reading = asyncio.create_task(
            again_and_again(self.refresh, self._every_seconds, "Access tokens stay as they are")
        )

    async def stop(self) -> None:
        await end(self._reading)

    async def refresh(self) -> None:
        """Read the active tokens. Raises RequestError (503) while the database is away."""
        rows = await self._database.rows(TOKENS)
        self._tokens = {
            bytes(row["token_hash"])[:8]: (
                bytes(row["token_hash"]),
                int(row["access_token_id"]),
                frozenset(row["scopes"]),
            )
            for row in rows
            if row["token_hash"] is not None
        }
        self._is_open = self._is_loopback and not rows[0]["were_made"]
        self._were_read = True

    async def allowed(self, authorization: bytes, scope: str) -> int | None:
        """The id of the token that allows `scope`; None where everybody may ask.

        Raises RequestError: 401 without a token that is active, 403 when it allows something else,
        503 before the tokens could be read.
        """
        if not self._were_read:
            await self.refresh()
        if self._is_open:
            return None
        kind, _, token = authorization.partition(b" ")
        presented = (
            hash_secret(token.strip().decode("latin-1")) if kind.lower() == b"bearer" else b""
        )
        # Found by a part of its hash, compared in constant time.
        stored, token_id, scopes = self._tokens.get(presented[:8], (b"", 0, frozenset[str]()))
        if not presented or not hmac.compare_digest(stored, presented):
            message = "Send an access token as `Authorization: Bearer at_...`."
            raise RequestError(401, "unauthorized", message)
        if scope not in scopes:
            message = f"The access token does not allow {scope}; make one that does."
            raise RequestError(403, "forbidden", message)
        return token_id


class RequestRate:
    """How many requests a token may make: a fixed window of one second per process."""

    def __init__(self, per_second: int) -> None:
        self._item = RateLimitItemPerSecond(per_second) if per_second else None
        self._windows = FixedWindowRateLimiter(MemoryStorage())

    def take(self, token_id: int | None) -> None:
        """Count a request. Raises RequestError (429) beyond the limit."""
        if self._item and not self._windows.hit(self._item, str(token_id)):
            message = f"More than {self._item.amount} requests in a second; try again in a second."
            raise RequestError(429, "rate_limited", message)


class Guard:
    """ASGI middleware: lets a request in when its token allows it, and measures every answer."""

    def __init__(self, app: App, tokens: AccessTokens, rate: RequestRate, metrics: Metrics) -> None:
        self._app = app
        self._tokens = tokens
        self._rate = rate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_and_note(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = await self._refusal(scope)
            await (refusal or self._app)(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.observe_request(route, status, time.perf_counter() - began)

    async def _refusal(self, scope: Scope) -> Response | None:
        needed = needed_scope(scope["method"], scope["path"])
        if needed is None:
            return None
        authorization = dict(scope["headers"]).get(b"authorization", b"")
        try:
            self._rate.take(await self._tokens.allowed(authorization, needed))
        except RequestError as error:
            self._metrics.refused.labels(error.code).inc()
            response = json_response({"code": error.code, "message": str(error)}, error.status)
            if error.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        return None
