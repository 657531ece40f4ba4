"""Why something could not be accepted, in the form that clients and the quarantine both see."""

from typing import Any

import msgspec

QUOTED_LENGTH = 80


class RejectionError(Exception):
    """An event or a request that cannot be accepted as it is.

    `code` is stable and meant for programs, `message` says what to change. `status` is the HTTP
    status when the rejection is the whole answer.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class NotTakenError(Exception):
    """A request that is answered with an error and of which nothing is kept."""

    status: int
    code: str
    message: str


class UnavailableError(NotTakenError):
    """Nothing was stored, or it is not known whether; the request may be sent again."""

    status = 503
    code = "unavailable"
    message = "The events cannot be stored at the moment; send them again."


class SlowClientError(NotTakenError):
    """The body did not arrive in time."""

    status = 408
    code = "body_timeout"
    message = "The body did not arrive in time; send it again."


class UnauthorizedError(NotTakenError):
    """No active write key in the request."""

    status = 401
    code = "invalid_write_key"
    message = "The write key is missing, wrong or revoked."


class BodyTooLargeError(NotTakenError):
    """A body that is not read, from nobody known: its key may be in it."""

    status = 413
    code = "body_too_large"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RateLimitError(NotTakenError):
    """The source sends more than its share."""

    status = 429
    code = "rate_limited"
    message = "This source sends more events than it may; send them again later."


def quote(value: Any) -> str:
    """A value as JSON, shortened, for use in a message. Never contains a control character."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= QUOTED_LENGTH else f"{text[:QUOTED_LENGTH]}..."
