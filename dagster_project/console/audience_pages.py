"""Audiences: the list, one with its definition, trend and history, and its rebuild."""

from collections import defaultdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cdp.audience_preview import AS_OF
from cdp.audience_rules import audience_members_sql, compile_audiences
from dagster_project.console.definition_words import describe
from dagster_project.console.page_keys import key_of, position
from dagster_project.console.pages import Pages, is_fragment
from dagster_project.console.readings import (
    AUDIENCE_CHANGES,
    LAST_ID,
    NEWEST_FIRST,
    PAGE_ROWS,
    TRENDS,
    unless_built,
)
from dagster_project.console.trend import Trend, trend_of

START = (NEWEST_FIRST, LAST_ID)


def audience_routes(pages: Pages) -> list[Route]:
    async def audiences(request: Request) -> Response:
        """Every audience with its size, its trend and what is wrong with it."""
        found = await pages.get_if_built(request, "/audiences")
        listed = found["audiences"] if found else []
        return pages.show(
            request, "audiences.html", audiences=listed, trends=await _trends(pages, None)
        )

    async def audience(request: Request) -> Response:
        """One audience: what it says, in words and as SQL, and how it has grown."""
        found = await pages.get(request, f"/audiences/{request.path_params['key']}")
        known = (await pages.get(request, "/audiences"))["audiences"]
        trends = await _trends(pages, found["audience_id"])
        return pages.show(
            request,
            "audience.html",
            audience=found,
            words=describe(found["definition"]),
            sql=await run_in_threadpool(_sql, known, found["audience_key"]),
            trend=trends.get(found["audience_id"]),
        )

    async def history(request: Request) -> Response:
        """A page of entries and exits, newest first."""
        found = await pages.get(request, f"/audiences/{request.path_params['key']}")
        after = position(request, START)
        rows = await unless_built(
            pages.database, AUDIENCE_CHANGES, [found["audience_id"], *after, PAGE_ROWS]
        )
        next_page = None
        if len(rows) == PAGE_ROWS:
            key = key_of(rows[-1]["changed_at"], rows[-1]["profile_id"])
            next_page = f"/console/audiences/{found['audience_key']}/history?after={key}"
        template = "audience_history.html" if is_fragment(request) else "audience_history_page.html"
        return pages.show(
            request,
            template,
            audience=found,
            changes=rows,
            next_page=next_page,
            is_first=after == START,
        )

    async def rebuild(request: Request) -> Response:
        """Start a run that builds the audience again, and show its progress."""
        await pages.may_manage(request)
        run = await pages.runs.follow(await pages.runs.start("refresh"))
        return pages.show(request, "run.html" if is_fragment(request) else "run_page.html", run=run)

    return [
        Route("/audiences", audiences),
        Route("/audiences/{key:str}", audience),
        Route("/audiences/{key:str}/history", history),
        Route("/audiences/{key:str}/rebuild", rebuild, methods=["POST"]),
    ]


async def _trends(pages: Pages, audience_id: int | None) -> dict[int, Trend]:
    builds: dict[int, list[Any]] = defaultdict(list)
    for row in await unless_built(pages.database, TRENDS, [audience_id]):
        builds[row["audience_id"]].append(row)
    return {number: trend_of(rows) for number, rows in builds.items()}


def _sql(known: list[dict[str, Any]], key: str) -> str | None:
    """The members' statement, or None where the definition has a mistake."""
    compiled = compile_audiences(
        {each["audience_key"]: each["definition"] for each in known}, AS_OF
    )
    audience = compiled[key]
    return None if audience.problems else audience_members_sql(audience, AS_OF)
