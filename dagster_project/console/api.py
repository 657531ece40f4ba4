"""The platform's own HTTP API, called as any other client calls it: with the viewer's token."""

import time
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
from starlette.types import ASGIApp

from cdp.settings import Settings

TIMEOUT_SECONDS = 40.0


class ApiError(Exception):
    """An answer that is not a success; `message` is for the viewer. Status 503 when there is none.

    `path` says where in the request the mistake is.
    """

    def __init__(self, status: int, code: str, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.path = path


@dataclass(frozen=True)
class Answer:
    """What a call returned, and how long it took in milliseconds."""

    content: Any
    milliseconds: float


class Api:
    """Both sides of the platform: the read side in this process, the write side over HTTP."""

    def __init__(self, settings: Settings, read_side: ASGIApp) -> None:
        self._write_url = settings.ingest_url or f"http://127.0.0.1:{settings.port}"
        self._write_key = settings.console_write_key
        transport = httpx.ASGITransport(read_side, raise_app_exceptions=False)
        self._read = httpx.AsyncClient(
            transport=transport, base_url="http://read-side", timeout=TIMEOUT_SECONDS
        )
        self._write = httpx.AsyncClient(base_url=self._write_url, timeout=TIMEOUT_SECONDS)

    async def close(self) -> None:
        await self._read.aclose()
        await self._write.aclose()

    async def get(self, path: str, token: str | None, **query: Any) -> Any:
        """GET an address of the read side. Raises ApiError unless it succeeds."""
        return (await self.timed_get(path, token, **query)).content

    async def timed_get(self, path: str, token: str | None, **query: Any) -> Answer:
        """Like `get`, with the time it took."""
        given = {name: value for name, value in query.items() if value is not None}
        request = self._read.build_request("GET", path, params=given, headers=_bearer(token))
        return await _send(self._read, request, "The read side")

    async def post(self, path: str, token: str | None, body: Any) -> Answer:
        """POST JSON to the read side. Raises ApiError unless it succeeds."""
        request = self._read.build_request("POST", path, json=body, headers=_bearer(token))
        return await _send(self._read, request, "The read side")

    async def collect(self, path: str, body: Any) -> Answer:
        """POST an event to the write side. Raises ApiError unless it was stored."""
        headers = {"X-Write-Key": self._write_key} if self._write_key else {}
        request = self._write.build_request("POST", path, json=body, headers=headers)
        try:
            return await _send(self._write, request, f"The write side at {self._write_url}")
        except ApiError as error:
            if error.status != 401:
                raise
            # Not the viewer's mistake: signing in again would not help.
            message = (
                "The write side wants a write key. Run `cdp keys create console` and set "
                "CDP_CONSOLE_WRITE_KEY to what it prints."
            )
            raise ApiError(503, "write_key_needed", message) from None


async def _send(client: httpx.AsyncClient, request: httpx.Request, whose: str) -> Answer:
    started = time.perf_counter()
    try:
        response = await client.send(request)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        message = f"{whose} does not answer ({reason}); is it running?"
        raise ApiError(503, "no_answer", message) from error
    milliseconds = (time.perf_counter() - started) * 1000
    content = _json(response)
    if response.is_success:
        return Answer(content, milliseconds)
    told = content if isinstance(content, dict) else {}
    raise ApiError(
        response.status_code,
        str(told.get("code", "refused")),
        str(told.get("message") or f"{whose} answered {response.status_code}."),
        told.get("path"),
    )


def _json(response: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return None


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
