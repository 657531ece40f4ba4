"""What group commit is measured against: the same work with one INSERT per request."""

import contextlib
import os
from collections.abc import AsyncIterator

from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

INSERT = """
    insert into raw.events
        (message_id, type, event, user_id, anonymous_id, email,
         occurred_at, received_at, source, payload)
    values (%s, %s, %s, %s, %s, %s, %s, now(), 'benchmark', %s)
"""
CONNECTIONS = 16


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Hold a pool of connections while the service runs."""
    async with AsyncConnectionPool(
        os.environ["DATABASE_URL"],
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        kwargs={"autocommit": True},
    ) as pool:
        app.state.pool = pool
        yield


async def track(request: Request) -> JSONResponse:
    """Store one event in a transaction of its own."""
    event = await request.json()
    email = event["context"]["traits"]["email"]
    values = [event[name] for name in ("messageId", "type", "event", "userId", "anonymousId")]
    async with request.app.state.pool.connection() as connection:
        await connection.execute(INSERT, [*values, email, event["timestamp"], Jsonb(event)])
    return JSONResponse({"success": True})


app = Starlette(routes=[Route("/v1/track", track, methods=["POST"])], lifespan=lifespan)
