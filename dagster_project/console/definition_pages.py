"""Writing an audience: a definition with its preview beside it, and sending it to the API."""

import json
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dagster_project.console.api import ApiError
from dagster_project.console.audience_pages import known_audiences, named_audience
from dagster_project.console.definition_words import describe
from dagster_project.console.formats import pretty
from dagster_project.console.pages import Pages, plain_query, read_form, token_of

EXAMPLE = '{"total_spend": {"$gte": 100}, "last_event_at": {"$within_days": 30}}'
FIELDS = ("audience_key", "name", "description", "definition")


def definition_routes(pages: Pages) -> list[Route]:
    async def write(request: Request) -> Response:
        """The form for a new audience, or with `key` for the next version of one."""
        await pages.may_read(request)
        key = plain_query(request, "key")
        form = dict.fromkeys(FIELDS, "") | {"definition": pretty(EXAMPLE)}
        if key:
            known = named_audience(await known_audiences(pages, request), key)
            form = {name: known[name] or "" for name in FIELDS}
            form["definition"] = pretty(form["definition"])
        return pages.show(request, "define.html", form=form, is_known=bool(key), problem=None)

    async def preview(request: Request) -> Response:
        """Who the definition in the form would bring in, or what is wrong with it."""
        await pages.may_read(request)
        form = await read_form(request)
        text = form.get("definition", "")
        show = partial(
            pages.show_part,
            request,
            heading="Preview",
            above=("/console/define", "The definition"),
        )
        try:
            body = {"definition": _parsed(text)}
            answer = await pages.api.post("/audiences/preview", token_of(request), body)
        except ApiError as error:
            if error.status == 401:
                raise
            return show("definition_problem.html", problem=error)
        return show(
            "preview.html",
            preview=answer.content,
            milliseconds=answer.milliseconds,
            words=describe(text),
        )

    async def define(request: Request) -> Response:
        """Send the form to the API; show the audience, or what is wrong beside the form."""
        await pages.may_read(request)
        form = await read_form(request)
        is_known = "is_known" in form
        body: dict[str, Any] = {name: form.get(name) or None for name in FIELDS}
        body["audience_key"], body["name"] = form.get("audience_key", ""), form.get("name", "")
        try:
            body["definition"] = _parsed(form.get("definition", ""))
            await pages.api.post("/audiences", token_of(request), body)
        except ApiError as error:
            if error.status == 401 or error.status >= 500:
                raise
            shown = {name: form.get(name, "") for name in FIELDS}
            return pages.show(
                request, "define.html", 400, form=shown, is_known=is_known, problem=error
            )
        return RedirectResponse(f"/console/audiences/{form['audience_key']}", 303)

    return [
        Route("/define", write, methods=["GET"]),
        Route("/define", define, methods=["POST"]),
        Route("/define/preview", preview, methods=["POST"]),
    ]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "not_json", f"This is not JSON yet: {error}.", "definition") from None
