"""Audiences: the list, one with its definition, trend and history, and its rebuild."""

from collections import defaultdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cdp.audience_preview import AS_OF
from cdp.audience_rules import audience_members_sql, compile_audiences
from dagster_project.console.api import ApiError
from dagster_project.console.definition_words import describe
from dagster_project.console.page_keys import key_of, position
from dagster_project.console.pages import Pages, token_of
from dagster_project.console.pipeline_pages import run_started
from dagster_project.console.readings import (
    AUDIENCE_CHANGES,
    LAST_ID,
    NEWEST_FIRST,
    PAGE_ROWS,
    TRENDS,
    WAITING_AUDIENCES,
    unless_built,
)
from dagster_project.console.trend import Trend, trend_of

START = (NEWEST_FIRST, LAST_ID)
UNBUILT: dict[str, Any] = {
    "audience_id": None,
    "definition_version": None,
    "built_version": None,
    "last_built_at": None,
    "member_count": None,
    "errors": [],
}


def audience_routes(pages: Pages) -> list[Route]:
    async def audiences(request: Request) -> Response:
        """Every audience with its size, its trend and what is wrong with it."""
        return pages.show(
            request,
            "audiences.html",
            audiences=await known_audiences(pages, request),
            trends=await _trends(pages, None),
        )

    async def audience(request: Request) -> Response:
        """One audience: what it says, in words and as SQL, and how it has grown."""
        known = await known_audiences(pages, request)
        found = named_audience(known, request.path_params["key"])
        trends = await _trends(pages, found["audience_id"]) if found["audience_id"] else {}
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
        found = named_audience(await known_audiences(pages, request), request.path_params["key"])
        after = position(request, START)
        rows = await unless_built(
            pages.database, AUDIENCE_CHANGES, [found["audience_id"], *after, PAGE_ROWS]
        )
        next_page = None
        if len(rows) == PAGE_ROWS:
            key = key_of(rows[-1]["changed_at"], rows[-1]["profile_id"])
            next_page = f"/console/audiences/{found['audience_key']}/history?after={key}"
        return pages.show_part(
            request,
            "audience_history.html",
            heading="Entries and exits",
            above=(f"/console/audiences/{found['audience_key']}", found["name"]),
            columns=("When", "Profile", "Change", "Because of"),
            changes=rows,
            next_page=next_page,
            is_first=after == START,
        )

    async def rebuild(request: Request) -> Response:
        """Have the audience built again, and show the run's progress."""
        address = f"/audiences/{request.path_params['key']}/rebuild"
        asked = (await pages.api.post(address, token_of(request), {})).content
        if asked["run_id"] is None:
            raise ApiError(503, "no_dagster", asked["message"])
        return await run_started(pages, request, asked["run_id"])

    return [
        Route("/audiences", audiences),
        Route("/audiences/{key:str}", audience),
        Route("/audiences/{key:str}/history", history),
        Route("/audiences/{key:str}/rebuild", rebuild, methods=["POST"]),
    ]


async def known_audiences(pages: Pages, request: Request) -> list[dict[str, Any]]:
    """Every audience by key, those too that wait for their first refresh.

    `waiting` says that a definition was sent which no refresh has taken up.
    """
    told = await pages.get_if_built(request, "/audiences")
    known = (
        {each["audience_key"]: each | {"waiting": False} for each in told["audiences"]}
        if told
        else {}
    )
    for sent in await pages.database.rows(WAITING_AUDIENCES):
        key = sent["audience_key"]
        if key not in known:
            known[key] = UNBUILT | sent | {"waiting": True}
        elif known[key]["definition"] != sent["definition"]:
            known[key]["waiting"] = known[key]["source"] == sent["source"]
    return [known[key] for key in sorted(known)]


def named_audience(known: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for each in known:
        if name in (each["audience_key"], str(each["audience_id"])):
            return each
    raise ApiError(404, "not_found", f"No audience has the key or the id {name!r}.")


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
