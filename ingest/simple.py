"""The simple shape: four lines of curl, translated to the Segment shape before it lands."""

from typing import Any

from ingest.rejection import RejectionError

_NAMES = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "message_id": "messageId",
    "occurred_at": "timestamp",
}


def translate_track(document: dict[str, Any]) -> dict[str, Any]:
    """`{event_type, user_id, email, anonymous_id, properties, occurred_at}` as a track call.

    Other fields are kept at the top of the payload. Raises RejectionError without an event_type.
    """
    name = document.pop("event_type", None)
    if name is None or (isinstance(name, str) and not name.strip()):
        raise RejectionError(
            "missing_event_type", 'event_type is missing; give for example "Product Viewed".'
        )
    if not isinstance(name, str):
        raise RejectionError("invalid_event_type", "event_type must be a text.")
    email = _take_email(document)
    translated = _renamed(document)
    translated["event"] = name
    if email is not None:
        context = _object(translated, "context")
        context["traits"] = _object(context, "traits") | {"email": email}
        translated["context"] = context
    return translated


def translate_identify(document: dict[str, Any]) -> dict[str, Any]:
    """`{email, user_id, anonymous_id, traits}` as an identify call; other fields are kept."""
    email = _take_email(document)
    translated = _renamed(document)
    if email is not None:
        translated["traits"] = _object(translated, "traits") | {"email": email}
    return translated


def said_in_its_names(error: RejectionError) -> RejectionError:
    """An error about a field, with the name that the field has in the simple shape."""
    field, _, rest = error.message.partition(" ")
    for simple_name, name in _NAMES.items():
        if field == name:
            return RejectionError(error.code, f"{simple_name} {rest}", error.status)
    return error


def _take_email(document: dict[str, Any]) -> str | None:
    email = document.pop("email", None)
    if email is None or email == "":
        return None
    if not isinstance(email, str):
        raise RejectionError("invalid_email", "email must be a text.")
    return email


def _renamed(document: dict[str, Any]) -> dict[str, Any]:
    for simple_name, name in _NAMES.items():
        value = document.pop(simple_name, None)
        if value is not None:
            document[name] = value
    return document


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RejectionError(f"invalid_{name}", f"{name} must be an object such as {{...}}.")
    return value
