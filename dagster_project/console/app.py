"""The console as one application: its routes, its files, its errors in words."""

from collections.abc import Callable
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from cdp.settings import Settings
from dagster_project.console.access import Guard, forget_token, keep_token, own_path
from dagster_project.console.api import Api, ApiError
from dagster_project.console.audience_pages import audience_routes
from dagster_project.console.definition_pages import definition_routes
from dagster_project.console.delivery_pages import delivery_routes
from dagster_project.console.pages import NOT_BUILT, READ, STATIC, Pages, is_fragment, read_form
from dagster_project.console.pipeline_pages import pipeline_routes
from dagster_project.console.profile_pages import profile_routes
from dagster_project.console.simulation import simulation_routes
from dagster_project.serving.access import AccessTokens
from dagster_project.serving.dagster_runs import DagsterRuns
from dagster_project.serving.database import Database
from dagster_project.serving.errors import RequestError

HOME = "/"


class Console:
    """The pages. `app` answers `/` and everything under `/console`; close it at the end."""

    def __init__(
        self,
        settings: Settings,
        read_side: ASGIApp,
        *,
        database: Database,
        tokens: AccessTokens,
        runs: DagsterRuns,
    ) -> None:
        self._api = Api(settings, read_side)
        pages = Pages(settings, database, self._api, runs, tokens)
        self.app = Starlette(
            routes=[
                *simulation_routes(pages),
                *profile_routes(pages),
                *audience_routes(pages),
                *definition_routes(pages),
                *pipeline_routes(pages),
                *delivery_routes(pages),
                *_access_routes(pages),
                Mount("/static", KeptFiles(directory=STATIC)),
            ],
            middleware=[Middleware(Guard)],
            exception_handlers={
                ApiError: _told(pages),
                RequestError: _told(pages),
                HTTPException: _told(pages),
                Exception: _told(pages),
            },
        )

    def routes(self) -> list[Route | Mount]:
        """Where it stands beside the API."""
        return [Route(HOME, self.app), Mount("/console", self.app)]

    async def close(self) -> None:
        await self._api.close()


class KeptFiles(StaticFiles):
    """Files whose address changes with their content: a browser may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 404."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=86400"
        return response


def _access_routes(pages: Pages) -> list[Route]:
    async def sign_in(request: Request) -> Response:
        """Ask for an access token and keep it, once the API has taken it."""
        target = own_path(request.query_params.get("next", ""))
        if request.method == "GET":
            return pages.show(request, "login.html", target=target, problem=None)
        form = await read_form(request)
        target = own_path(form.get("next", ""))
        try:
            await pages.may(READ, form.get("token") or None)
        except RequestError as error:
            if error.status not in (401, 403):
                raise
            problem = "No such token is active, or it does not allow to read."
            return pages.show(request, "login.html", 401, target=target, problem=problem)
        response = RedirectResponse(target, 303)
        if form.get("token"):
            keep_token(response, request, form["token"])
        return response

    async def sign_out(_request: Request) -> Response:
        """Forget the token."""
        response = RedirectResponse("/console/login", 303)
        forget_token(response)
        return response

    return [
        Route("/login", sign_in, methods=["GET", "POST"]),
        Route("/logout", sign_out, methods=["POST"]),
    ]


def _told(pages: Pages) -> Callable[[Request, Exception], Response]:
    """What a viewer gets instead of what failed: the reason, or the page to sign in."""

    def tell(request: Request, error: Exception) -> Response:
        status, message = _words(error)
        is_built = getattr(error, "code", None) != NOT_BUILT
        if status == 401:
            address = f"/console/login?next={quote(request.url.path)}"
            if is_fragment(request):
                return Response(status_code=204, headers={"HX-Redirect": address})
            return RedirectResponse(address, 303)
        template = "problem.html" if is_fragment(request) else "error.html"
        return pages.show(
            request, template, status, status=status, message=message, is_built=is_built
        )

    return tell


def _words(error: Exception) -> tuple[int, str]:
    if isinstance(error, ApiError | RequestError):
        return error.status, str(error)
    if isinstance(error, HTTPException):
        words = {404: "There is no such page.", 405: "This page cannot be asked like that."}
        return error.status_code, words.get(error.status_code, str(error.detail))
    return 500, "The console failed; the log of the service says why."
