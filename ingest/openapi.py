"""The OpenAPI document of the write side, built from the same table as its routes."""

from typing import Any

from ingest.wire import CALLS, Call

ID = {"type": ["string", "number", "null"], "description": "An id; numbers become text."}
TIME = {"type": ["string", "null"], "format": "date-time", "description": "ISO 8601."}
OBJECT = {"type": ["object", "null"]}

SCHEMAS: dict[str, Any] = {
    "Track": {
        "type": "object",
        "required": ["event_type"],
        "properties": {
            "event_type": {"type": "string", "minLength": 1, "example": "Product Viewed"},
            "user_id": ID,
            "anonymous_id": ID,
            "email": {"type": ["string", "null"]},
            "properties": OBJECT,
            "occurred_at": TIME,
            "message_id": ID | {"description": "Repeating a message id repeats the same event."},
        },
    },
    "Identify": {
        "type": "object",
        "description": "At least one of user_id, anonymous_id, email, traits.phone.",
        "properties": {
            "user_id": ID,
            "anonymous_id": ID,
            "email": {"type": ["string", "null"]},
            "traits": OBJECT,
            "message_id": ID,
        },
    },
    "Event": {
        "type": "object",
        "description": "An event as Segment's, RudderStack's and Jitsu's SDKs send it.",
        "properties": {
            "type": {"enum": ["identify", "track", "page", "screen", "group", "alias"]},
            "event": {"type": "string"},
            "messageId": ID,
            "userId": ID,
            "anonymousId": ID,
            "previousId": ID,
            "groupId": ID,
            "name": {"type": ["string", "null"]},
            "timestamp": TIME,
            "originalTimestamp": TIME,
            "sentAt": TIME,
            "properties": OBJECT,
            "traits": OBJECT,
            "context": OBJECT,
        },
    },
    "Batch": {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "batch": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
            "context": OBJECT,
            "sentAt": TIME,
            "writeKey": {"type": "string"},
        },
    },
    "Stored": {
        "type": "object",
        "required": ["success", "message_id", "received_at"],
        "properties": {
            "success": {"const": True},
            "message_id": {"type": "string"},
            "received_at": {"type": "string", "format": "date-time"},
        },
    },
    "BatchStored": {
        "type": "object",
        "required": ["success", "accepted", "rejected"],
        "properties": {
            "success": {"const": True},
            "accepted": {"type": "integer", "minimum": 0},
            "rejected": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "message_id", "code", "message"],
                    "properties": {
                        "index": {"type": "integer", "minimum": 0},
                        "message_id": {"type": ["string", "null"]},
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                    },
                },
            },
        },
    },
    "Error": {
        "type": "object",
        "required": ["code", "message"],
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
    },
}

ERRORS = {
    "400": "Cannot be accepted; kept in raw.rejected_events with the reason.",
    "401": "The write key is missing, wrong or revoked.",
    "408": "The body did not arrive in time; send it again.",
    "413": "Larger than a limit; kept in raw.rejected_events.",
    "415": "A Content-Encoding other than gzip.",
    "429": "The source sends more than it may; Retry-After says when to come back.",
    "503": "Cannot be stored now; Retry-After says when to come back.",
}


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1, every path of the write side."""
    paths: dict[str, Any] = {path: {"post": _collect(path, call)} for path, call in CALLS.items()}
    paths["/api/s/{kind}"] = {
        "post": _collect("/api/s/{kind}", Call())
        | {"parameters": [_path_parameter("kind", "identify, track, page, ... or s2s/track, ...")]}
    }
    paths["/v1/projects/{write_key}/settings"] = {
        "get": _get("What Segment's browser and mobile SDKs ask first.")
        | {"parameters": [_path_parameter("write_key", "The write key of the page.")]}
    }
    paths["/sourceConfig"] = {"get": _get("What RudderStack's browser SDK asks first.")}
    paths["/health"] = {"get": _get("The process is alive.")}
    paths["/ready"] = {
        "get": _get("Events can be stored now.") | {"responses": _answers(["200", "503"])}
    }
    paths["/metrics"] = {
        "get": {
            "summary": "Prometheus metrics.",
            "responses": {"200": {"description": "Metrics.", "content": {"text/plain": {}}}},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "CDP, write side", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Write-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "writeKey"},
            },
        },
    }


def _collect(path: str, call: Call) -> dict[str, Any]:
    names = {"/track": "Track", "/identify": "Identify"}
    body = "Batch" if call.is_batch else names.get(path, "Event")
    answer = "BatchStored" if call.is_batch else "Stored"
    responses = {
        "200": {
            "description": "Stored, on disk.",
            "content": {"application/json": {"schema": _reference(answer)}},
        }
    }
    return {
        "summary": f"Store a batch of events: {path}" if call.is_batch else f"Store: {path}",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _reference(body)}},
        },
        "responses": responses | {status: _error(text) for status, text in ERRORS.items()},
        "security": [{}, {"basic": []}, {"header": []}, {"query": []}],
    }


def _get(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": _answers(["200"])}


def _answers(statuses: list[str]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {status: {"description": "JSON.", "content": content} for status in statuses}


def _error(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _reference("Error")}},
    }


def _path_parameter(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
