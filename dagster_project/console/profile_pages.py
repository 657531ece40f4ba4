"""Profiles: found by any identifier, listed by last seen, and one with all that is known of it."""

import asyncio
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dagster_project.console.api import ApiError
from dagster_project.console.page_keys import key_of, position
from dagster_project.console.pages import Pages, is_fragment, plain_query
from dagster_project.console.readings import (
    LAST_ID,
    NEWEST_FIRST,
    PAGE_ROWS,
    PAST_IDS,
    RECENT_PROFILES,
    unless_built,
)

SEARCHED = ("user_id", "email", "phone", "anonymous_id")
FOUND_ROWS = 20
START = (NEWEST_FIRST, LAST_ID)


def profile_routes(pages: Pages) -> list[Route]:
    async def profiles(request: Request) -> Response:
        """The list, a further page of it, what a search found, or the members of an audience."""
        asked, audience = plain_query(request, "q"), plain_query(request, "audience")
        if asked and (profile_id := _as_id(asked)):
            return RedirectResponse(f"/console/profiles/{profile_id}", 303)
        listed: tuple[list[Any], str | None]
        if asked:
            listed = await _search(pages, request, asked), None
        elif audience:
            listed = await _members(pages, request, audience)
        else:
            listed = await _recent(pages, request)
        template = "profile_rows.html" if is_fragment(request) else "profiles.html"
        return pages.show(
            request,
            template,
            profiles=listed[0],
            next_page=listed[1],
            asked=asked,
            audience=audience,
        )

    async def profile(request: Request) -> Response:
        """Everything about one profile but its events, which follow page by page."""
        profile_id = request.path_params["profile_id"]
        found, evidence, past = await asyncio.gather(
            pages.get(request, f"/profiles/{profile_id}"),
            _evidence(pages, request, profile_id),
            unless_built(pages.database, PAST_IDS, [profile_id]),
        )
        return pages.show(
            request,
            "profile.html",
            profile=found,
            evidence=evidence,
            past=past,
            asked_id=str(profile_id),
        )

    async def events(request: Request) -> Response:
        """A page of the profile's events, newest first."""
        profile_id = request.path_params["profile_id"]
        cursor = plain_query(request, "after") or None
        address = f"/profiles/{profile_id}/events"
        page = await pages.get(request, address, cursor=cursor, limit=PAGE_ROWS)
        following = page["next_cursor"]
        return pages.show_part(
            request,
            "profile_events.html",
            heading="Events",
            above=(f"/console/profiles/{profile_id}", "The profile"),
            columns=("When", "Event", "Properties"),
            events=page["events"],
            next_page=f"/console{address}?after={following}" if following else None,
            is_first=cursor is None,
        )

    return [
        Route("/profiles", profiles),
        Route("/profiles/{profile_id:uuid}", profile),
        Route("/profiles/{profile_id:uuid}/events", events),
    ]


async def _recent(pages: Pages, request: Request) -> tuple[list[Any], str | None]:
    await pages.may_read(request)
    after = position(request, START)
    rows = await unless_built(pages.database, RECENT_PROFILES, [*after, PAGE_ROWS])
    if len(rows) < PAGE_ROWS:
        return rows, None
    key = key_of(rows[-1]["last_seen_at"], rows[-1]["profile_id"])
    return rows, f"/console/profiles?after={key}"


async def _members(pages: Pages, request: Request, audience: str) -> tuple[list[Any], str | None]:
    cursor = plain_query(request, "after") or None
    page = await pages.get(request, "/profiles", audience=audience, cursor=cursor, limit=PAGE_ROWS)
    following = page["next_cursor"]
    address = f"/console/profiles?audience={audience}&after={following}"
    return page["profiles"], address if following else None


async def _search(pages: Pages, request: Request, asked: str) -> list[Any]:
    """Profiles that carry this identifier, of whatever type."""
    answers = await asyncio.gather(
        *(pages.get(request, "/profiles", **{name: asked}, limit=FOUND_ROWS) for name in SEARCHED)
    )
    found = {each["profile_id"]: each for answer in answers for each in answer["profiles"]}
    return list(found.values())


async def _evidence(pages: Pages, request: Request, profile_id: uuid.UUID) -> dict[str, Any] | None:
    """Why the identifiers are one, or None where the API does not tell."""
    try:
        told: dict[str, Any] = await pages.get(request, f"/profiles/{profile_id}/identity")
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return told


def _as_id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
