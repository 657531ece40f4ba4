"""Who may look: signing in with an access token, and what keeps other sites out.

The token is kept in a cookie that scripts cannot read and that the browser sends from our own pages
alone. It is handed to the HTTP API with every call, which decides what it allows.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "cdp_token"
COOKIE_SECONDS = 12 * 3600
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Around the console: its security headers, and no change by a request of another site."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as every ASGI application does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["method"] not in SAFE_METHODS and not _is_own(Headers(scope=scope)):
            refused = PlainTextResponse("This request came from another site.", 403)
            await refused(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


class CookieToken:
    """Around the read side: a browser that signed in reads the API with the console's cookie.

    For what a page links to: CSV files, raw JSON. Only requests that change nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as every ASGI application does."""
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            token = Request(scope).cookies.get(COOKIE)
            if token and "authorization" not in Headers(scope=scope):
                given = (b"authorization", f"Bearer {token}".encode("latin-1", "ignore"))
                scope = {**scope, "headers": [*scope["headers"], given]}
        await self._app(scope, receive, send)


def keep_token(response: Response, request: Request, token: str) -> None:
    """Sign the viewer in for half a day."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def forget_token(response: Response) -> None:
    """Sign the viewer out."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def own_path(target: str) -> str:
    """A page of the console to go to after signing in; `/` for anything else."""
    parts = urlsplit(target)
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith("/console/")
    return parts.path + (f"?{parts.query}" if parts.query else "") if is_ours else "/"


def _is_own(headers: Headers) -> bool:
    """Whether a page of ours made the request. What sends neither header is no browser."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
