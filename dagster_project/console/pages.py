"""What every page of the console is given, and how one becomes an answer."""

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from cdp.settings import Settings
from dagster_project.console.access import COOKIE
from dagster_project.console.api import Api, ApiError
from dagster_project.console.formats import FILTERS
from dagster_project.serving.access import AccessTokens
from dagster_project.serving.dagster_runs import DagsterRuns
from dagster_project.serving.database import Database

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
MAX_FORM_BYTES = 64 * 1024
MAX_FIELDS = 100
NOT_BUILT = "not_built"
READ, DECIDE, MANAGE = "read", "decide", "manage"


class Pages:
    """The API, the read role's database, and the templates. Holds nothing of any one viewer."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        api: Api,
        runs: DagsterRuns,
        tokens: AccessTokens,
    ) -> None:
        self._settings = settings
        self.database = database
        self.api = api
        self.runs = runs
        self._tokens = tokens
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals["asset"] = self._asset

    def show(
        self, request: Request, template: str, status_code: int = 200, **content: Any
    ) -> HTMLResponse:
        """A template as an answer."""
        content |= {
            "path": request.url.path,
            "is_signed_in": token_of(request) is not None,
            "dagster_link": dagster_link(request, self._settings),
        }
        return HTMLResponse(self._templates.get_template(template).render(content), status_code)

    def show_part(
        self,
        request: Request,
        part: str,
        *,
        heading: str,
        above: tuple[str, str],
        columns: Sequence[str] = (),
        **content: Any,
    ) -> HTMLResponse:
        """A part of a page; to a browser without scripts a page of its own, with a way back.

        `above` is the address and the name of the page that it is a part of. With `columns` the
        part is the rows of a table.
        """
        if is_fragment(request):
            return self.show(request, part, **content)
        content |= {"heading": heading, "above": above, "columns": columns, "part": part}
        return self.show(request, "part_page.html", **content)

    async def get(self, request: Request, path: str, **query: Any) -> Any:
        """GET an address of the read side as the viewer. Raises ApiError unless it succeeds."""
        return await self.api.get(path, token_of(request), **query)

    async def get_if_built(self, request: Request, path: str, **query: Any) -> Any:
        """Like `get`, but None before the first refresh has made the tables."""
        try:
            return await self.get(request, path, **query)
        except ApiError as error:
            if error.code == NOT_BUILT:
                return None
            raise

    async def may(self, scope: str, token: str | None) -> None:
        """Raises RequestError unless the API would take this token for `scope`."""
        presented = f"Bearer {token}".encode() if token else b""
        await self._tokens.allowed(presented, scope)

    async def may_read(self, request: Request) -> None:
        """Raises RequestError unless the API would let the viewer read."""
        await self.may(READ, token_of(request))

    async def may_manage(self, request: Request) -> None:
        """Raises RequestError unless the API would let the viewer change something."""
        await self.may(MANAGE, token_of(request))

    async def may_buy(self, request: Request) -> None:
        """Raises RequestError unless the viewer may do all that a purchase takes.

        The write side takes its events with the console's own write key, whoever asks for them.
        """
        for scope in (MANAGE, READ, DECIDE):
            await self.may(scope, token_of(request))

    def _asset(self, name: str) -> str:
        return f"/console/static/{name}?v={self._version}"

    @cached_property
    def _version(self) -> str:
        """Changes with any file, so that browsers may keep what they have loaded."""
        files = sorted(STATIC.iterdir())
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def token_of(request: Request) -> str | None:
    """The access token that the viewer signed in with."""
    return request.cookies.get(COOKIE) or None


def is_fragment(request: Request) -> bool:
    """Whether a part of a page asks, not the browser for a whole one."""
    return request.headers.get("HX-Request") == "true"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, trimmed. Raises ApiError when it is too large or no form."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_FORM_BYTES:
            raise ApiError(413, "too_large", f"The form has more than {MAX_FORM_BYTES:,} bytes.")
    try:
        fields = parse_qsl(
            content.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise ApiError(400, "bad_request", "The form cannot be read.") from None
    return {name: value.strip() for name, value in fields}


def dagster_link(request: Request, settings: Settings) -> str:
    """Where the viewer's browser opens the Dagster UI: as set, else on this host's port."""
    if settings.dagster_public_url:
        return settings.dagster_for_people
    return f"{request.url.scheme}://{request.url.hostname}:{settings.dagster_port}"


def plain_query(request: Request, name: str) -> str:
    """A parameter of the address, trimmed; control characters are left out."""
    return re.sub(r"[\x00-\x1f]", "", request.query_params.get(name, "")).strip()
