"""The read side with one address more, to compare with: a profile read by its primary key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.responses import Response

from cdp.pauses import keep_imported
from cdp.settings import load_settings
from dagster_project.serving.app import create_app
from dagster_project.serving.database import Database
from dagster_project.serving.errors import json_response

READ = "select * from decide.profiles where profile_id = md5('user_id:' || $1::text)::uuid"


def create() -> FastAPI:
    settings = load_settings()
    app = create_app(settings)
    database = Database(settings)
    serve = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await database.open()
        async with serve(app):
            yield
        await database.close()

    app.router.lifespan_context = lifespan

    @app.get("/by-primary-key/{user_id}")
    async def by_primary_key(user_id: str) -> Response:
        return json_response(await database.row(READ, [user_id]))

    keep_imported()
    return app
