"""POST /audiences/{id}/rebuild: a Dagster run that evaluates one audience for everybody."""

from fastapi import APIRouter
from starlette.responses import Response

from dagster_project.serving.audiences import Name
from dagster_project.serving.dagster_runs import DagsterAwayError, DagsterRuns
from dagster_project.serving.database import Database
from dagster_project.serving.errors import RequestError, json_response, not_found

# Names of dagster_project/defs/audiences.py; importing them would import all of Dagster.
JOB = "rebuild_audience"
PARTITIONS = "audience"
# Also one that was sent since the last run, and is in no table that dbt builds yet.
FIND = """
select audience_key, is_enabled
from (
    select audience_key, is_enabled, audience_key = $1 as is_by_key, 1 as preference
    from segment.audiences
    where audience_key = $1 or audience_id::text = $1
    union all
    (
        select audience_key, is_enabled, true as is_by_key, 0 as preference
        from raw.audience_definitions
        where
            audience_key = $1
            and not exists (
                select from segment.audiences
                where audience_key = $1 and source <> 'POST /audiences'
            )
        order by definition_id desc
        limit 1
    )
) as found
order by is_by_key desc, preference
limit 1
"""
NOTE = """
insert into raw.audience_rebuilds (audience_key, run_id) values ($1, $2) returning requested_at
"""


def audience_rebuild_routes(database: Database, runs: DagsterRuns) -> APIRouter:
    router = APIRouter()

    @router.post("/audiences/{audience}/rebuild", status_code=202)
    async def rebuild(audience: Name) -> Response:
        """Evaluate an audience for everybody, in a Dagster run; answers with its id at once.

        While Dagster is away the request is kept and `run_id` is null: the next refresh, by
        whatever starts it, evaluates the audience.
        """
        found = await database.row(FIND, [audience])
        if found is None:
            raise not_found(f"No audience has the key or the id {audience!r}.")
        key = str(found["audience_key"])
        if not found["is_enabled"]:
            message = f"{key} is disabled and has no members; enable it where it is defined."
            raise RequestError(409, "disabled", message)
        run_id, message = None, "A run is started."
        try:
            run_id = await runs.start_partition(JOB, PARTITIONS, key)
        except DagsterAwayError as error:
            message = f"{error} The next refresh evaluates the audience."
        noted = await database.row(NOTE, [key, run_id])
        content = {
            "audience_key": key,
            "run_id": run_id,
            "run_url": runs.address(run_id) if run_id else None,
            "requested_at": noted["requested_at"] if noted else None,
            "message": message,
        }
        return json_response(content, 202)

    return router
