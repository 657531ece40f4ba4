"""GET /profiles and /profiles/{id}: what is known of somebody, as of the last refresh."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from cdp.audience_rules import profile_attribute_kinds
from dagster_project.serving.database import Database
from dagster_project.serving.errors import bad_request, json_response, not_found
from dagster_project.serving.identity import IDENTIFIED, normal_email

Text = Annotated[str | None, Query(max_length=512)]
COLUMNS = ", ".join(f"profiles.{name}" for name in ("profile_id", *profile_attribute_kinds()))

WITH_IDENTIFIER = """
inner join unify.identifiers as {kind}s
    on
        profiles.profile_id = {kind}s.profile_id
        and {kind}s.identifier_type = '{kind}'
        and {kind}s.identifier_value = ${number}
"""
IN_AUDIENCE = """
inner join segment.audience_members as members on profiles.profile_id = members.profile_id
inner join segment.audiences
    on members.audience_id = audiences.audience_id and audiences.audience_key = ${number}
"""
ONE = f"""
with identified as ({IDENTIFIED})

select
    {COLUMNS},
    (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'identifier_type', identifiers.identifier_type,
                    'identifier_value', identifiers.identifier_value,
                    'first_seen_at', identifiers.first_seen_at
                )
                order by identifiers.identifier_type, identifiers.identifier_value
            ),
            '[]'
        )
        from unify.identifiers
        where identifiers.profile_id = profiles.profile_id
    ) as identifiers,
    (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'audience_key', audiences.audience_key, 'added_at', members.added_at
                )
                order by audiences.audience_key
            ),
            '[]'
        )
        from segment.audience_members as members
        inner join segment.audiences on members.audience_id = audiences.audience_id
        where members.profile_id = profiles.profile_id
    ) as audiences
from identified
inner join unify.profiles on identified.profile_id = profiles.profile_id
"""  # noqa: S608 - both parts are constants


def profile_routes(database: Database) -> APIRouter:
    router = APIRouter()

    @router.get("/profiles")
    async def profiles(
        *,
        email: Text = None,
        user_id: Text = None,
        anonymous_id: Text = None,
        audience: Text = None,
        cursor: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> Response:
        """Profiles by id, page by page: `next_cursor` of one page is the `cursor` of the next."""
        filters = {"email": normal_email(email), "user_id": user_id, "anonymous_id": anonymous_id}
        parameters: list[object] = [cursor, limit]
        joins = ""
        for kind, value in filters.items():
            if value is not None:
                parameters.append(_plain(value, kind))
                joins += WITH_IDENTIFIER.format(kind=kind, number=len(parameters))
        if audience is not None:
            parameters.append(_plain(audience, "audience"))
            joins += IN_AUDIENCE.format(number=len(parameters))
        statement = (
            f"select {COLUMNS} from unify.profiles{joins}"  # noqa: S608 - values are parameters
            " where $1::uuid is null or profiles.profile_id > $1"
            " order by profiles.profile_id limit $2"
        )
        found = await database.rows(statement, parameters)
        next_cursor = found[-1]["profile_id"] if len(found) == limit else None
        return json_response({"profiles": found, "next_cursor": next_cursor})

    @router.get("/profiles/{profile_id}")
    async def profile(profile_id: UUID) -> Response:
        """One profile with its identifiers and audiences. An id from before a merge still works."""
        found = await database.row(ONE, [profile_id, None, None, None])
        if found is None:
            raise not_found(f"No profile has the id {profile_id}.")
        return json_response(found)

    return router


def _plain(text: str, name: str) -> str:
    if "\x00" in text:
        raise bad_request("A text may not hold a NUL character.", name)
    return text
