"""GET /profiles/{id}/export: everything that is kept about one profile, as one JSON document."""

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from dagster_project.serving.database import Database
from dagster_project.serving.errors import json_response, not_found
from dagster_project.serving.identity import IDENTIFIED

# What is listed about the profile: the table, the type of its profile_id, the order of the rows.
PARTS = {
    "identifiers": ("unify.identifiers", "uuid", "identifier_type, identifier_value"),
    "events": ("unify.events", "uuid", "occurred_at, event_id"),
    "sessions": ("unify.sessions", "uuid", "started_at, session_id"),
    "audience_changes": ("segment.audience_changes", "uuid", "changed_at, audience_id"),
    "decisions": ("decide.decisions", "text", "decided_at, decision_id"),
}
LIST = """
    (
        select coalesce(jsonb_agg(to_jsonb(listed) - 'profile_id'), '[]')
        from (
            select * from {table}
            where {table}.profile_id = profiles.profile_id::{type}
            order by {order}
        ) as listed
    ) as {name}"""
EXPORT = f"""
with identified as ({IDENTIFIED})

select
    to_jsonb(profiles) as profile,
    {
    ",".join(
        LIST.format(name=name, table=table, type=kind, order=order)
        for name, (table, kind, order) in PARTS.items()
    )
},
    (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'audience_key', audiences.audience_key,
                    'name', audiences.name,
                    'added_at', members.added_at
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
"""  # noqa: S608 - every part is a constant


def export_routes(database: Database) -> APIRouter:
    router = APIRouter()

    @router.get("/profiles/{profile_id}/export")
    async def export(profile_id: UUID) -> Response:
        """What is kept about a profile: for the person, when they ask for it."""
        found = await database.row(EXPORT, [profile_id, None, None, None])
        if found is None:
            raise not_found(f"No profile has the id {profile_id}.")
        answer = json_response(found)
        answer.headers["Content-Disposition"] = f'attachment; filename="{profile_id}.json"'
        return answer

    return router
