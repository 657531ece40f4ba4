"""Each audience on its own: built again when somebody asks, and when a definition changed."""

import contextlib
import hashlib
import json
from typing import Any

import dagster as dg
import psycopg

from cdp.audience_definitions import defined_audiences
from cdp.database import database_url
from cdp.engine import postgres_variables
from cdp.errors import UserError
from cdp.settings import Settings
from dagster_project.audience_reports import AUDIENCE, PARTITIONS, described
from dagster_project.dbt_manifest import DBT_PROJECT_DIR
from dagster_project.dbt_process import stream_dbt
from dagster_project.dbt_selection import NO_UNIT_TESTS
from dagster_project.defs.jobs import QUIET, REFRESH_TAGS
from dagster_project.exclusive import REFRESH, exclusive
from dagster_project.instance import end_dead_runs, runs_in_progress
from dagster_project.stages import OWNERS

# The stage and the seed that it begins with.
SEGMENT = ["models/segment", "audiences"]
ARGUMENTS = ["build", "--select", *SEGMENT, *NO_UNIT_TESTS]
BUILT = "select to_regclass('decide.watermark') is not null"
KNOWN = "select audience_key, definition, is_enabled from segment.audiences"
# The service that asked for this run has noted it already.
NOTE = """
insert into raw.audience_rebuilds (audience_key, run_id)
select %(audience_key)s, %(run_id)s
where not exists (select from raw.audience_rebuilds where run_id = %(run_id)s)
"""


@dg.asset(
    key=AUDIENCE,
    deps=[dg.AssetKey(["unify", "profiles"]), dg.AssetKey(["unify", "events"])],
    group_name="segment",
    owners=OWNERS["segment"],
    kinds={"dbt", "postgres"},
    partitions_def=dg.DynamicPartitionsDefinition(name=PARTITIONS),
)
def audience(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """An audience: how many it holds, who entered and left, its trend, and its SQL.

    One partition per audience; each run of `refresh` reports all of them. Materialising a
    partition evaluates that audience for everybody, and every changed definition, from the
    profiles as the last refresh left them.
    """
    url, key = database_url(settings), context.partition_key
    with psycopg.connect(url) as connection:
        connection.execute(NOTE, {"audience_key": key, "run_id": context.run.run_id})
    _build_segment(context, settings, url)
    metadata = described(url, key)
    if not metadata:
        raise dg.Failure(
            f"{key} has no members to show: it is disabled, not defined, or has a mistake; "
            "segment.audience_errors and seeds/audiences.csv say which."
        )
    return dg.MaterializeResult(metadata=metadata)


def _build_segment(context: dg.AssetExecutionContext, settings: Settings, url: str) -> None:
    """Build the stage. Raises Failure with dbt's messages when a node failed."""
    holder = f"cdp rebuild of an audience, run {context.run.run_id[:8]}"
    failed = []
    with exclusive(url, REFRESH, holder=holder, on_wait=context.log.info):
        stream = stream_dbt(
            ARGUMENTS,
            project_dir=DBT_PROJECT_DIR,
            target_dir=settings.home / "dbt",
            environment=postgres_variables(settings),
        )
        with contextlib.closing(stream):
            for result in stream:
                context.log.debug("%s: %s", result.name, result.message or result.status)
                if result.failed:
                    failed.append(f"{result.name}: {result.message or result.status}")
    if failed:
        raise dg.Failure("\n".join(failed), allow_retries=False)


rebuild_audience = dg.define_asset_job(
    "rebuild_audience",
    selection=dg.AssetSelection.assets(AUDIENCE),
    tags=REFRESH_TAGS,
    config=QUIET,
    description="Evaluate one audience for everybody, from the profiles as they are.",
)


@dg.sensor(
    job=rebuild_audience,
    description="Starts `rebuild_audience` when a definition differs from what was built.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def changed_definitions(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Starts `rebuild_audience` when a definition differs from what was built, in git or over HTTP.

    One run for all that changed, named after the first. The cursor is what was asked for last, so
    that a run that fails is not started again and again; the next refresh tries it anyway.
    """
    end_dead_runs(context.instance)
    running = runs_in_progress(context.instance, REFRESH_TAGS)
    if running:
        return dg.SkipReason(f"Run {running[0].run_id} is {running[0].status.value.lower()}.")
    try:
        with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
            changed = changed_audiences(connection)
    except (psycopg.OperationalError, UserError) as error:
        return dg.SkipReason(f"The definitions cannot be compared: {error}")
    if not changed:
        return dg.SkipReason("Every definition is built.")
    asked = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
    if asked == context.cursor:
        return dg.SkipReason(f"A run was started for {', '.join(sorted(changed))}.")
    first = min(changed)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(partition_key=first, tags={"cdp/changed": str(len(changed))})],
        dynamic_partitions_requests=[
            dg.DynamicPartitionsDefinition(name=PARTITIONS).build_add_request([first])
        ],
        cursor=asked,
    )


def changed_audiences(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """What is defined now and differs from segment.audiences, by key; nothing before any run.

    Only enabled audiences that appeared or changed: those that go, go with the next refresh.
    """
    built = connection.execute(BUILT).fetchone()
    if built is None or not built[0]:
        return {}
    known = {row[0]: row[1:] for row in connection.execute(KNOWN)}
    return {
        key: each.definition
        for key, each in defined_audiences(connection).items()
        if each.is_enabled and known.get(key) != (each.definition, True)
    }
