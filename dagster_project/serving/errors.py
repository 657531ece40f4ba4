"""What a request that cannot be answered gets: JSON with `code`, `message` and perhaps `path`."""

import logging
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

log = logging.getLogger(__name__)
RETRY_AFTER_SECONDS = 1
# Money is numeric in the warehouse and stays exact on the way out.
ENCODER = msgspec.json.Encoder(decimal_format="number")


class RequestError(Exception):
    """The request is answered with this status. `path` says where in the body the mistake is."""

    def __init__(self, status: int, code: str, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.path = path


def bad_request(message: str, path: str | None = None, code: str = "bad_request") -> RequestError:
    return RequestError(400, code, message, path)


def not_found(message: str) -> RequestError:
    return RequestError(404, "not_found", message)


def unavailable(code: str, message: str) -> RequestError:
    """Not now; the answer carries Retry-After."""
    return RequestError(503, code, message)


def json_response(content: Any, status: int = 200) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in (429, 503) else None
    return Response(ENCODER.encode(content), status, media_type="application/json", headers=headers)


def answer_errors(app: FastAPI) -> None:
    """Make every error of the application JSON."""

    @app.exception_handler(RequestError)
    async def refused(_request: Request, error: RequestError) -> Response:
        content = {"code": error.code, "message": str(error)}
        return json_response(content | ({"path": error.path} if error.path else {}), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        path = ".".join(str(part) for part in problem["loc"][1:])
        content = {"code": "bad_request", "message": f"{path}: {problem['msg']}.", "path": path}
        return json_response(content, 400)

    @app.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed"}
        message = f"{request.method} {request.url.path}: {error.detail}."
        content = {"code": codes.get(error.status_code, "refused"), "message": message}
        return json_response(content, error.status_code)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        message = "The service failed; its log says why."
        return json_response({"code": "internal_error", "message": message}, 500)
