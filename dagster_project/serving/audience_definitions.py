"""POST /audiences and /audiences/preview: definitions over HTTP, checked before they are taken."""

import asyncio
import hashlib
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from cdp.audience_preview import AS_OF, preview_sql
from cdp.audience_rules import CompiledAudience, compile_audiences
from cdp.settings import Settings
from dagster_project.serving.body import read_json
from dagster_project.serving.database import Database
from dagster_project.serving.errors import RequestError, json_response, unavailable

PREVIEWS_AT_ONCE = 2
PREVIEW_TIMEOUT_SECONDS = 30
DRAFT = "the definition"
Text = Annotated[str, msgspec.Meta(max_length=2000)]

# As the next refresh will know them; what was sent since the last one is included.
DEFINITIONS = """
with sent as (
    select distinct on (definitions.audience_key)
        definitions.audience_key,
        definitions.definition,
        'POST /audiences' as source
    from raw.audience_definitions as definitions
    order by definitions.audience_key, definitions.definition_id desc
)

select
    audience_key,
    coalesce(sent.definition, audiences.definition) as definition,
    coalesce(sent.source, audiences.source) as source
from (
    select audiences.audience_key, audiences.definition, audiences.source
    from segment.audiences
    where audiences.source <> 'POST /audiences'
) as audiences
full outer join sent using (audience_key)
"""
INSERT = """
insert into raw.audience_definitions
    (audience_key, name, description, definition, owner, is_enabled)
values ($1, $2, $3, $4, $5, $6)
returning defined_at
"""


class DefineAudience(msgspec.Struct, forbid_unknown_fields=True):
    """An audience, or a new version of one that was defined over HTTP before."""

    audience_key: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,99}$")]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    definition: msgspec.Raw
    description: Text | None = None
    owner: Text | None = None
    is_enabled: bool = True


class PreviewAudience(msgspec.Struct, forbid_unknown_fields=True):
    """A definition that nobody has to keep."""

    definition: msgspec.Raw


def audience_definition_routes(settings: Settings, database: Database) -> APIRouter:
    router = APIRouter()
    previewing = asyncio.Semaphore(PREVIEWS_AT_ONCE)

    @router.post("/audiences", openapi_extra=_body_of(DefineAudience), status_code=201)
    async def define(request: Request) -> Response:
        """Define an audience, or change it. The next refresh evaluates it."""
        asked = await read_json(request, DefineAudience, settings.max_decision_bytes)
        definition = bytes(asked.definition).decode()
        known = {str(row["audience_key"]): row for row in await database.rows(DEFINITIONS)}
        if (seeded := known.get(asked.audience_key)) and seeded["source"] != "POST /audiences":
            raise RequestError(
                409,
                "defined_elsewhere",
                f"{asked.audience_key} is defined in {seeded['source']}; change it there.",
                "audience_key",
            )
        number = audience_id(asked.audience_key)
        if any(audience_id(key) == number and key != asked.audience_key for key in known):
            message = f"Another audience has the number that {asked.audience_key} would have."
            raise RequestError(409, "number_taken", message, "audience_key")
        definitions = {key: str(row["definition"]) for key, row in known.items()}
        await _understood(definitions, asked.audience_key, definition)
        stored = await database.row(
            INSERT,
            [
                asked.audience_key,
                asked.name,
                asked.description,
                definition,
                asked.owner,
                asked.is_enabled,
            ],
        )
        defined_at: datetime | None = stored["defined_at"] if stored else None
        content = {
            "audience_id": number,
            "audience_key": asked.audience_key,
            "defined_at": defined_at,
            "message": "The next refresh evaluates it.",
        }
        return json_response(content, 201)

    @router.post("/audiences/preview", openapi_extra=_body_of(PreviewAudience))
    async def preview(request: Request) -> Response:
        """Who a definition would bring in now: size, share, samples, overlaps. Writes nothing."""
        asked = await read_json(request, PreviewAudience, settings.max_decision_bytes)
        known = await database.rows(DEFINITIONS)
        definitions = {str(row["audience_key"]): str(row["definition"]) for row in known}
        definition = bytes(asked.definition).decode()
        audience = await _understood(definitions, DRAFT, definition)
        if previewing.locked():
            raise unavailable("busy", f"{PREVIEWS_AT_ONCE} previews are running; try again.")
        async with previewing:
            found = await _read_only_row(database, preview_sql(audience))
        if found is None or found["as_of"] is None:
            raise unavailable("not_built", "No run has ended yet; run `cdp refresh`.")
        profiles = found["profile_count"]
        share = found["member_count"] / profiles if profiles else 0
        return json_response(found | {"share": round(share, 6)})

    return router


def audience_id(audience_key: str) -> int:
    """As the macro audience_id makes it."""
    return int(hashlib.md5(audience_key.encode(), usedforsecurity=False).hexdigest()[:8], 16)


async def _understood(definitions: dict[str, str], key: str, definition: str) -> CompiledAudience:
    """The compiled definition. Raises RequestError (400) with every mistake."""
    # Compiling is work for the processor, a second for thousands of definitions.
    compiled = await run_in_threadpool(compile_audiences, definitions | {key: definition}, AS_OF)
    problems = compiled[key].problems
    if problems:
        message = "; ".join(str(problem) for problem in problems)
        path = f"definition.{problems[0].path}" if problems[0].path else "definition"
        raise RequestError(400, "invalid_definition", message, path)
    return compiled[key]


async def _read_only_row(database: Database, statement: str) -> dict[str, Any] | None:
    async with database.connection() as connection, connection.transaction():
        await connection.execute(
            f"set transaction read only; set local statement_timeout = '{PREVIEW_TIMEOUT_SECONDS}s'"
        )
        cursor = await connection.execute(statement.encode())
        names = [column.name for column in cursor.description or ()]
        row = await cursor.fetchone()
    return dict(zip(names, row, strict=True)) if row else None


def _body_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, "required": True}}
