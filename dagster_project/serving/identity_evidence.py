"""GET /profiles/{id}/identity: why these identifiers are one person."""

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from cdp.identity_evidence import evidence_sql
from dagster_project.serving.database import Database
from dagster_project.serving.errors import json_response, not_found
from dagster_project.serving.identity import IDENTIFIED

WHO = f"select profile_id from ({IDENTIFIED}) as identified"  # noqa: S608 - a constant
EVIDENCE = evidence_sql("$1::uuid")


def identity_evidence_routes(database: Database) -> APIRouter:
    router = APIRouter()

    @router.get("/profiles/{profile_id}/identity")
    async def identity(profile_id: UUID) -> Response:
        """A profile's identifiers, for each link between them the event that made it, past ids.

        Identifiers that events carried with them and that do not link are listed too, with the
        reason. An id from before a merge still works.
        """
        found = await database.row(WHO, [profile_id, None, None, None])
        if found is None:
            raise not_found(f"No profile has the id {profile_id}.")
        return json_response(await database.row(EVIDENCE, [found["profile_id"]]))

    return router
