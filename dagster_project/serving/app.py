"""The read side as an ASGI application."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.responses import Response

from cdp.settings import Settings
from dagster_project.console.access import CookieToken
from dagster_project.console.app import Console
from dagster_project.serving.access import AccessTokens, Guard, RequestRate
from dagster_project.serving.audience_definitions import audience_definition_routes
from dagster_project.serving.audience_export import audience_export_routes
from dagster_project.serving.audience_rebuilds import audience_rebuild_routes
from dagster_project.serving.audiences import audience_routes
from dagster_project.serving.clock import Clock, utc_now
from dagster_project.serving.dagster_runs import DagsterRuns
from dagster_project.serving.database import Database
from dagster_project.serving.decide import Decider, decide_routes
from dagster_project.serving.decision_log import DecisionLog
from dagster_project.serving.erasures import erasure_routes
from dagster_project.serving.errors import answer_errors, json_response
from dagster_project.serving.export import export_routes
from dagster_project.serving.identity_evidence import identity_evidence_routes
from dagster_project.serving.metrics import Metrics
from dagster_project.serving.profiles import profile_routes
from dagster_project.serving.rulebook import Rulebooks

BATCH_CONNECTIONS = 2


def create_app(settings: Settings, clock: Clock = utc_now) -> FastAPI:
    """Build the application. It starts whether the database is there or not.

    `clock` says for which instant it answers.
    """
    database = Database(settings)
    # Those of `database` are all taken while something is slow.
    batch = Database(settings, BATCH_CONNECTIONS) if settings.degraded_decisions else None
    metrics = Metrics()
    decision_log = DecisionLog(database, settings.decision_log_rows, metrics)
    tokens = AccessTokens(database, settings)
    runs = DagsterRuns(settings)
    rulebooks = Rulebooks(database)
    decider = Decider(rulebooks, decision_log, metrics, clock=clock, batch=batch)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _opened(database, batch):
            decision_log.start()
            tokens.start()
            try:
                yield
            finally:
                await console.close()
                await tokens.stop()
                await decision_log.stop()
                await runs.close()

    app = FastAPI(
        title="Customer data platform: profiles, audiences and decisions",
        lifespan=lifespan,
        openapi_url="/openapi/serving.json",
        docs_url=None,
        redoc_url=None,
    )
    answer_errors(app)
    app.add_middleware(
        Guard, tokens=tokens, rate=RequestRate(settings.rate_limit_requests), metrics=metrics
    )

    @app.get("/health")
    async def health() -> Response:
        """The process runs."""
        return json_response({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        """The database answers."""
        await database.row("select 1 as answer")
        return json_response({"status": "ready", "decisions_lost": decision_log.lost})

    @app.get("/metrics")
    async def exposition() -> Response:
        """What the read side counts, in Prometheus' text format."""
        return Response(all_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def all_metrics() -> bytes:
        metrics.decisions_waiting.set(decision_log.waiting)
        return metrics.exposition()

    app.state.exposition = all_metrics

    app.include_router(decide_routes(settings, decider))
    app.include_router(profile_routes(database, rulebooks, clock))
    app.include_router(erasure_routes(settings, database, clock))
    app.include_router(export_routes(database))
    app.include_router(identity_evidence_routes(database))
    app.include_router(audience_routes(database, runs))
    app.include_router(audience_export_routes(settings, database))
    app.include_router(audience_rebuild_routes(database, runs))
    app.include_router(audience_definition_routes(settings, database))
    console = Console(settings, app, database=database, tokens=tokens, runs=runs)
    app.router.routes.extend(console.routes())
    app.add_middleware(CookieToken)
    return app


@contextlib.asynccontextmanager
async def _opened(*databases: Database | None) -> AsyncIterator[None]:
    """Keep connections for as long as the block runs."""
    used = [each for each in databases if each]
    for each in used:
        await each.open()
    try:
        yield
    finally:
        for each in used:
            await each.close()
