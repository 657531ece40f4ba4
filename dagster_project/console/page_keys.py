"""Where a page of a list ends, as text for the address of the next one."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from starlette.requests import Request

from dagster_project.console.api import ApiError
from dagster_project.console.pages import plain_query

Position = tuple[str, UUID]


def key_of(at: datetime, identifier: UUID) -> str:
    """The position after a row that is ordered by an instant, then by an id."""
    return base64.urlsafe_b64encode(f"{at.isoformat()}|{identifier}".encode()).decode()


def position(request: Request, start: Position) -> Position:
    """The position that the address names, else `start`. Raises ApiError when it cannot be one."""
    key = plain_query(request, "after")
    if not key:
        return start
    try:
        at, _, identifier = base64.urlsafe_b64decode(key).decode().partition("|")
        return datetime.fromisoformat(at).isoformat(), UUID(identifier)
    except (binascii.Error, ValueError):
        raise ApiError(400, "bad_request", "The address names no page of this list.") from None
