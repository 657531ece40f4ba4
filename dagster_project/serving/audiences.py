"""GET /audiences and what hangs on one: its state, and its history."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from dagster_project.serving.dagster_runs import DagsterRuns
from dagster_project.serving.database import Database, Row
from dagster_project.serving.errors import bad_request, json_response, not_found

Name = Annotated[str, Path(max_length=100, pattern=r"^[^\x00]+$")]

AUDIENCES = """
select
    audiences.audience_id,
    audiences.audience_key,
    audiences.name,
    audiences.description,
    audiences.definition,
    audiences.definition_version,
    audiences.owner,
    audiences.source,
    audiences.is_enabled,
    audiences.created_at,
    audiences.last_built_at,
    audiences.built_version,
    audiences.member_count,
    builds.entered_count,
    builds.exited_count,
    case
        when exists (
            select from segment.audience_errors as mistakes
            where mistakes.audience_id = audiences.audience_id
        ) then 'wrong'
        when not audiences.is_enabled then 'disabled'
        when
            audiences.last_built_at is null
            or exists (
                select from raw.audience_rebuilds as rebuilds
                where rebuilds.audience_key = audiences.audience_key
                    and rebuilds.requested_at > audiences.last_built_at
            )
            or exists (
                select from raw.audience_definitions as sent
                where sent.audience_key = audiences.audience_key
                    and sent.defined_at > audiences.last_built_at
                    and audiences.source = 'POST /audiences'
            ) then 'waiting'
        else 'built'
    end as state,
    (
        select coalesce(
            jsonb_agg(
                jsonb_build_object('path', mistakes.path, 'message', mistakes.message)
                order by mistakes.error_number
            ),
            '[]'
        )
        from segment.audience_errors as mistakes
        where mistakes.audience_id = audiences.audience_id
    ) as errors
from segment.audiences
left join segment.audience_builds as builds
    on audiences.audience_id = builds.audience_id and audiences.last_built_at = builds.built_at
"""
LAST_REBUILD = """
select run_id, requested_at
from raw.audience_rebuilds
where audience_key = $1
order by rebuild_id desc
limit 1
"""
ALL = AUDIENCES + "order by audiences.audience_key"
# A key that is a number wins over the number of another audience.
ONE = (
    AUDIENCES
    + """
where audiences.audience_key = $1 or audiences.audience_id::text = $1
order by audiences.audience_key = $1 desc
limit 1
"""
)

FIRST_INSTANT = datetime(1, 1, 2, tzinfo=UTC)
NO_PROFILE = UUID(int=0)
CHANGES = """
select
    changes.profile_id,
    changes.change,
    changes.changed_at,
    changes.change_number,
    changes.definition_version,
    changes.reason
from segment.audience_changes as changes
where
    changes.audience_id = $1
    and (changes.changed_at, changes.profile_id, changes.change_number)
    > ($2::timestamptz, $3::uuid, $4::integer)
order by changes.changed_at, changes.profile_id, changes.change_number
limit $5
"""


def audience_routes(database: Database, runs: DagsterRuns) -> APIRouter:
    router = APIRouter()

    @router.get("/audiences")
    async def audiences() -> Response:
        """Every audience that was ever defined, with its size and what is wrong with it."""
        return json_response({"audiences": await database.rows(ALL)})

    @router.get("/audiences/{audience}")
    async def audience(audience: Name) -> Response:
        """One audience, by key or id: its state, its last build, and the run last asked for."""
        found = await find_audience(database, audience)
        asked = await database.row(LAST_REBUILD, [found["audience_key"]])
        run_id = str(asked["run_id"]) if asked and asked["run_id"] else None
        run = {
            "run_id": run_id,
            "run_url": runs.address(run_id) if run_id else None,
            "status": await runs.status(run_id) if run_id else None,
            "requested_at": asked["requested_at"] if asked else None,
        }
        return json_response(found | {"run": run if asked else None})

    @router.get("/audiences/{audience}/changes")
    async def changes(
        audience: Name,
        since: datetime | None = None,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> Response:
        """Entries and exits, oldest first: `next_cursor` of a page is the `cursor` of the next.

        The last page has a cursor too: asked again later, it gives what has happened since.
        """
        found = await find_audience(database, audience)
        after = _position(cursor) if cursor else [since or FIRST_INSTANT, NO_PROFILE, 0]
        rows = await database.rows(CHANGES, [found["audience_id"], *after, limit])
        return json_response({"changes": rows, "next_cursor": _cursor(rows) or cursor})

    return router


async def find_audience(database: Database, name: str) -> Row:
    """The audience with this key or number. Raises RequestError (404) when there is none."""
    found = await database.row(ONE, [name])
    if found is None:
        raise not_found(f"No audience has the key or the id {name!r}.")
    return found


def _cursor(rows: list[Row]) -> str | None:
    """Where a page ended, as text for an address."""
    if not rows:
        return None
    last = rows[-1]
    position = [last["changed_at"], last["profile_id"], last["change_number"]]
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()


def _position(cursor: str) -> list[Any]:
    try:
        text = base64.urlsafe_b64decode(cursor)
        return list(msgspec.json.decode(text, type=tuple[datetime, UUID, int]))
    except (ValueError, msgspec.MsgspecError):
        raise bad_request("Not a cursor of this address.", "cursor") from None
