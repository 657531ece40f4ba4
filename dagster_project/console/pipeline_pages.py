"""Pipeline: how fresh it is, what came in, what was rejected, what was delivered."""

import asyncio

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dagster_project.console.api import ApiError
from dagster_project.console.pages import Pages, is_fragment, plain_query, read_form
from dagster_project.console.readings import (
    DELIVERIES,
    FRESHNESS,
    HELD_DESTINATIONS,
    INTAKE,
    MOST_COUNTED,
    PAGE_ROWS,
    REJECTED,
    REJECTED_BY_CODE,
    UNSETTLED,
    unless_built,
)
from dagster_project.serving.errors import RequestError

INTAKE_DAYS = 7
SHOWN_RUNS = 8
SHOWN_DELIVERIES = 12
SHOWN_MESSAGES = 20
JOBS = ("refresh", "replay_rejected", "resend_failed")
NEWEST = 2**63 - 1
PIPELINE = ("/console/pipeline", "Pipeline")


def pipeline_routes(pages: Pages) -> list[Route]:
    async def pipeline(request: Request) -> Response:
        """The whole page; its first part asks for itself again while it is looked at."""
        await pages.may_read(request)
        database = pages.database
        fresh, intake, codes, rejected, deliveries, unsettled, held = await asyncio.gather(
            unless_built(database, FRESHNESS, [MOST_COUNTED]),
            unless_built(database, INTAKE, [INTAKE_DAYS]),
            database.rows(REJECTED_BY_CODE, [MOST_COUNTED]),
            database.rows(REJECTED, [NEWEST, PAGE_ROWS]),
            unless_built(database, DELIVERIES, [SHOWN_DELIVERIES]),
            unless_built(database, UNSETTLED, [MOST_COUNTED, SHOWN_MESSAGES]),
            database.rows(HELD_DESTINATIONS),
        )
        return pages.show(
            request,
            "pipeline.html",
            fresh=fresh[0] if fresh else None,
            intake=intake,
            intake_days=INTAKE_DAYS,
            codes=codes,
            rejected=rejected,
            next_page=_next_page(rejected),
            deliveries=deliveries,
            unsettled=unsettled,
            held=held,
            most_counted=MOST_COUNTED,
        )

    async def freshness(request: Request) -> Response:
        """The part that asks for itself again and again."""
        await pages.may_read(request)
        fresh = await unless_built(pages.database, FRESHNESS, [MOST_COUNTED])
        return pages.show(
            request,
            "freshness.html",
            fresh=fresh[0] if fresh else None,
            most_counted=MOST_COUNTED,
        )

    async def rejected(request: Request) -> Response:
        """A page of rejected events, newest first."""
        await pages.may_read(request)
        before = plain_query(request, "before")
        rows = await pages.database.rows(
            REJECTED, [int(before) if before.isdecimal() else NEWEST, PAGE_ROWS]
        )
        return pages.show_part(
            request,
            "rejected_rows.html",
            heading="Rejected events",
            above=PIPELINE,
            columns=("Received", "Source", "Address", "Reason", "State"),
            rejected=rows,
            next_page=_next_page(rows),
        )

    async def runs(request: Request) -> Response:
        """The newest runs in Dagster, or that it does not answer."""
        await pages.may_read(request)
        try:
            found, problem = await pages.runs.recent(SHOWN_RUNS), None
        except RequestError as error:
            found, problem = [], error
        return pages.show_part(
            request,
            "runs.html",
            heading="Runs in Dagster",
            above=PIPELINE,
            runs=found,
            problem=problem,
        )

    async def start(request: Request) -> Response:
        """Start a job and show its progress."""
        await pages.may_manage(request)
        form = await read_form(request)
        job = form.get("job", "")
        if job not in JOBS:
            raise ApiError(400, "bad_request", f"There is no job {job!r} to start here.")
        return await run_started(pages, request, await pages.runs.start(job))

    async def progress(request: Request) -> Response:
        """How a run stands; the part asks for itself again until it has ended."""
        await pages.may_read(request)
        return await _progress(pages, request, str(request.path_params["run_id"]))

    return [
        Route("/pipeline", pipeline),
        Route("/pipeline/freshness", freshness),
        Route("/pipeline/rejected", rejected),
        Route("/pipeline/runs", runs),
        Route("/runs", start, methods=["POST"]),
        Route("/runs/{run_id:uuid}", progress),
    ]


async def run_started(pages: Pages, request: Request, run_id: str) -> Response:
    """Show the progress of a run that the viewer has just started."""
    if is_fragment(request):
        return await _progress(pages, request, run_id)
    # So that loading the page again does not start another one.
    return RedirectResponse(f"/console/runs/{run_id}", 303)


async def _progress(pages: Pages, request: Request, run_id: str) -> Response:
    run = await pages.runs.follow(run_id)
    return pages.show_part(
        request, "run.html", heading=f"Run {run.short_id}", above=PIPELINE, run=run
    )


def _next_page(rows: list[dict[str, object]]) -> str | None:
    if len(rows) < PAGE_ROWS:
        return None
    return f"/console/pipeline/rejected?before={rows[-1]['rejected_id']}"
