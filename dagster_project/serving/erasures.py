"""DELETE /profiles/{id}, POST /erasures: asking that somebody be erased, and how far that is.

This side only records requests, and cannot read what others asked for: Dagster's job
`erase_profiles` carries them out as the owner.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cdp.settings import Settings
from dagster_project.serving.body import read_json
from dagster_project.serving.clock import Clock
from dagster_project.serving.database import Database
from dagster_project.serving.errors import bad_request, json_response, not_found
from dagster_project.serving.identity import IDENTIFIED

Mode = Literal["delete", "suppress", "both"]
Value = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
NEXT = "The job erase_profiles carries it out within minutes."

# The profile that stands under this id, and the identifiers that are its now where the last refresh
# may not know them all. $5 is the instant.
KNOWN = f"""
with identified as ({IDENTIFIED})

select
    coalesce((select profile_id from identified), (now.profile).profile_id) as profile_id,
    coalesce(decide.listed_nodes(now.nodes), '[]') as identifiers
from (select) as always
left join decide.profile_now($1::uuid, null, null, null, null, $5::timestamptz) as now on true
"""  # noqa: S608 - a constant

INSERT = """
insert into raw.erasure_requests (mode, identifiers, profile_id, is_whole_profile)
values ($1, $2::jsonb, $3, $4)
returning request_id, requested_at, mode, status
"""
READ = """
select request_id, requested_at, mode, status, error, completed_at, certificate
from raw.erasure_requests
where request_id = $1
"""


class Identified(msgspec.Struct, forbid_unknown_fields=True):
    """One identifier, as GET /profiles/{id} names it."""

    identifier_type: Literal["user_id", "email", "phone", "anonymous_id"]
    identifier_value: Value
    first_seen_at: Any = None


class Erase(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to erase: identifiers in a list, or each under its own name.

    `whole_profile` takes all identifiers of the profiles that these belong to.
    """

    identifiers: Annotated[list[Identified], msgspec.Meta(max_length=1000)] = []
    user_id: Value | None = None
    email: Value | None = None
    phone: Value | None = None
    anonymous_id: Value | None = None
    mode: Mode = "both"
    whole_profile: bool = False

    def named(self) -> list[dict[str, str]]:
        """All of them in the form of raw.erasure_requests."""
        pairs: list[tuple[str, str]] = [
            (each.identifier_type, each.identifier_value) for each in self.identifiers
        ]
        names = ("user_id", "email", "phone", "anonymous_id")
        pairs += [(name, value) for name in names if (value := getattr(self, name)) is not None]
        return [
            {"identifier_type": kind, "identifier_value": value.strip()} for kind, value in pairs
        ]


def erasure_routes(settings: Settings, database: Database, clock: Clock) -> APIRouter:
    router = APIRouter()

    @router.delete("/profiles/{profile_id}", status_code=202)
    async def erase_profile(profile_id: UUID, mode: Annotated[Mode, Query()] = "both") -> Response:
        """Ask that a profile and all that is known of it be erased, and stay so.

        That is the profile as the last refresh knows it, with what has joined it since.
        """
        known = await database.row(KNOWN, [profile_id, None, None, None, clock()])
        if known is None or known["profile_id"] is None:
            raise not_found(f"No profile has the id {profile_id}.")
        named = [
            {name: each[name] for name in ("identifier_type", "identifier_value")}
            for each in known["identifiers"]
        ]
        return await record(mode, named, known["profile_id"], is_whole_profile=True)

    @router.post("/erasures", openapi_extra=_body(), status_code=202)
    async def erase(request: Request) -> Response:
        """Ask that identifiers be erased, or their later events be dropped, or both."""
        asked = await read_json(request, Erase, settings.max_decision_bytes)
        named = asked.named()
        if not named:
            raise bad_request("Name at least one identifier.", "identifiers")
        if not all(each["identifier_value"] for each in named):
            raise bad_request("An identifier is blank.", "identifiers")
        return await record(asked.mode, named, None, is_whole_profile=asked.whole_profile)

    @router.get("/erasures/{request_id}")
    async def erasure(request_id: UUID) -> Response:
        """How far a request is, and its certificate once it is completed."""
        found = await database.row(READ, [request_id])
        if found is None:
            raise not_found(f"No erasure was requested under the id {request_id}.")
        return json_response(found)

    async def record(
        mode: Mode,
        identifiers: list[dict[str, str]],
        profile_id: UUID | None,
        *,
        is_whole_profile: bool,
    ) -> Response:
        text = msgspec.json.encode(identifiers).decode()
        stored = await database.row(INSERT, [mode, text, profile_id, is_whole_profile])
        return json_response({**(stored or {}), "message": NEXT}, 202)

    return router


def _body() -> dict[str, Any]:
    _schemas, components = msgspec.json.schema_components([Erase])
    schema = components["Erase"]
    schema["properties"]["identifiers"]["items"] = components["Identified"]
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, "required": True}}
