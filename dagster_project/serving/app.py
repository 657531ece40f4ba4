"""The read side as an ASGI application."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.responses import Response

from cdp.settings import Settings
from dagster_project.serving.audience_definitions import audience_definition_routes
from dagster_project.serving.audience_export import audience_export_routes
from dagster_project.serving.audience_rebuilds import audience_rebuild_routes
from dagster_project.serving.audiences import audience_routes
from dagster_project.serving.dagster_runs import DagsterRuns
from dagster_project.serving.database import Database
from dagster_project.serving.decide import Decider, decide_routes
from dagster_project.serving.decision_log import DecisionLog
from dagster_project.serving.errors import answer_errors, json_response
from dagster_project.serving.profiles import profile_routes


def create_app(settings: Settings) -> FastAPI:
    """Build the application. It starts whether the database is there or not."""
    database = Database(settings)
    runs = DagsterRuns(settings)
    decision_log = DecisionLog(database, settings.decision_log_rows)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await database.open()
        decision_log.start()
        try:
            yield
        finally:
            await decision_log.stop()
            await runs.close()
            await database.close()

    app = FastAPI(
        title="Customer data platform: profiles, audiences and decisions",
        lifespan=lifespan,
        openapi_url="/openapi/serving.json",
        docs_url=None,
        redoc_url=None,
    )
    answer_errors(app)

    @app.get("/health")
    async def health() -> Response:
        """The process runs."""
        return json_response({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        """The database answers."""
        await database.row("select 1 as answer")
        return json_response({"status": "ready", "decisions_lost": decision_log.lost})

    app.include_router(decide_routes(settings, Decider(database, decision_log)))
    app.include_router(profile_routes(database))
    app.include_router(audience_routes(database, runs))
    app.include_router(audience_export_routes(settings, database))
    app.include_router(audience_rebuild_routes(database, runs))
    app.include_router(audience_definition_routes(settings, database))
    return app
