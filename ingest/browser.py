"""What browser SDKs ask before they send: settings that point them back at this service."""

from starlette.requests import Request
from starlette.responses import JSONResponse

# For the browser alone: the answer names the host that was asked for, which a header may say, and a
# cache that many share must not hand on what one of them said.
_CACHE = {"Cache-Control": "private, max-age=300"}


async def segment_settings(request: Request) -> JSONResponse:
    """GET /v1/projects/<key>/settings: for @segment/analytics-next and the mobile SDKs."""
    protocol, host = _own_address(request)
    return JSONResponse(
        {
            "integrations": {
                "Segment.io": {
                    "apiKey": request.path_params["write_key"],
                    "apiHost": f"{host}/v1",
                    "protocol": protocol,
                }
            },
            "plan": {},
            "metrics": {"sampleRate": 0},  # the SDK's own telemetry has nowhere to go
        },
        headers=_CACHE,
    )


async def rudderstack_source_config(request: Request) -> JSONResponse:
    """GET /sourceConfig?writeKey=...: for @rudderstack/analytics-js and RudderStack's mobile SDKs.

    No destinations: the events come here and nowhere else.
    """
    write_key = request.query_params.get("writeKey", "")
    off = {"enabled": False}
    return JSONResponse(
        {
            "source": {
                "id": "cdp",
                "name": "cdp",
                "writeKey": write_key,
                "workspaceId": "cdp",
                "enabled": True,
                "config": {"statsCollection": {"errors": off, "metrics": off}},
                "connections": [],
                "destinations": [],
            },
        },
        headers=_CACHE,
    )


def _own_address(request: Request) -> tuple[str, str]:
    """Protocol and host as the browser sees them, behind a proxy too."""
    protocol = request.headers.get("x-forwarded-proto", request.url.scheme)
    host = request.headers.get("x-forwarded-host", request.headers.get("host", "localhost"))
    return protocol.partition(",")[0].strip(), host.partition(",")[0].strip()
