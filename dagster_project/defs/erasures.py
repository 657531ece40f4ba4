"""The job that erases people on request, and what starts it."""

import dagster as dg
import psycopg

from cdp.database import database_url
from cdp.erasure_requests import ErasureError, certificate_text
from cdp.settings import Settings
from dagster_project.defs.jobs import QUIET, REFRESH_TAGS
from dagster_project.instance import runs_in_progress

WAITING = """
select count(*)
from raw.erasure_requests
where status in ('requested', 'running')
"""


@dg.op
def erase(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Carry out every open request; the certificates are in `raw.erasure_requests` and here."""
    # They load the definitions, of which this module is a part.
    from dagster_project.erasing import erase_open_requests  # noqa: PLC0415
    from dagster_project.run import refresh  # noqa: PLC0415

    try:
        certificates = erase_open_requests(
            settings,
            lambda: refresh(settings, every_schedule=True, instance=context.instance),
            holder=f"cdp erasure, run {context.run_id[:8]}",
            on_wait=context.log.info,
        )
    except ErasureError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    remaining, outside = (
        sum(bool(each.get(part)) for each in certificates) for part in ("remaining", "outside")
    )
    context.add_output_metadata(
        {
            "completed": len(certificates),
            "with_remaining_mentions": remaining,
            "with_something_outside": outside,
            "certificates": dg.MetadataValue.md(
                "\n".join(f"```json\n{certificate_text(each)}\n```" for each in certificates)
            ),
        }
    )


@dg.job(
    config=QUIET,
    tags=REFRESH_TAGS,
    description=(
        "Erase and suppress whoever `raw.erasure_requests` names: what landed, what was computed,"
        " members, history, decisions, files and the copies in BigQuery; then certify it."
    ),
)
def erase_profiles() -> None:
    erase()


@dg.sensor(
    # By name: with the job itself Dagster warns of an argument of its own that is in beta.
    job_name="erase_profiles",
    description="Starts `erase_profiles` when somebody asked to be erased.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def erasure_requests(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.RunRequest | dg.SkipReason:
    """Starts `erase_profiles` when somebody asked to be erased.

    A request whose run was killed is taken up again. One that failed waits until the job is started
    by hand, or until the next request comes.
    """
    refreshes = runs_in_progress(context.instance, REFRESH_TAGS)
    running = [run for run in refreshes if run.job_name == erase_profiles.name]
    if running:
        return dg.SkipReason(f"Run {running[0].run_id} is {running[0].status.value.lower()}.")
    try:
        with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
            row = connection.execute(WAITING).fetchone()
    except psycopg.OperationalError as error:
        return dg.SkipReason(f"The database cannot be reached: {error}")
    if row is None or not row[0]:
        return dg.SkipReason("Nobody asked to be erased.")
    return dg.RunRequest()
