"""Reading a JSON body: bounded, strict, and with the path of a mistake."""

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from fastapi import Request

from cdp.json_tokens import MAX_DEPTH, is_deeper
from dagster_project.serving.errors import RequestError, bad_request

Body = TypeVar("Body", bound=msgspec.Struct)


async def read_json(request: Request, kind: type[Body], max_bytes: int) -> Body:
    """The body as `kind`. Raises RequestError: 413 when too large, 400 when it is anything else."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > max_bytes:
            raise RequestError(413, "too_large", f"The body has more than {max_bytes} bytes.")
    try:
        body = msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise bad_request(f"{message}.", place.strip("`").removeprefix("$.") or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"The body is not JSON: {error}.", code="not_json") from None
    except RecursionError:
        raise _too_deep() from None
    if is_deeper(content, MAX_DEPTH):
        raise _too_deep()
    if rb"\u0000" in content:
        _refuse_nul(msgspec.json.decode(content))
    return body


def _too_deep() -> RequestError:
    return bad_request(f"The body is nested more than {MAX_DEPTH} levels deep.")


def _refuse_nul(body: Any) -> None:
    """JSON may hold NUL characters, PostgreSQL's text may not."""
    for path, text in _texts(body, ""):
        if "\x00" in text:
            raise bad_request("A text may not hold a NUL character.", re.sub("\x00", "", path))


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            here = f"{path}.{key}" if path else key
            yield here, key
            yield from _texts(item, here)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
