"""Runs of a job in this process, for the command line: `cdp refresh` and `cdp demo`."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import dagster as dg

from cdp.settings import Settings
from dagster_project.definitions import definitions
from dagster_project.delivery_run import EVERY_SCHEDULE
from dagster_project.instance import (
    EXECUTED_BY,
    end_dead_runs,
    open_instance,
    process_mark,
)
from dagster_project.progress import OnStep, unobserved

# The configuration of the op that delivers.
EVERYTHING = {"config": {"schedule": EVERY_SCHEDULE}}


@dataclass(frozen=True)
class RefreshResult:
    """How a refresh ended.

    `rows` are the rows that it wrote, by table ("stage.name") or file ("...[audience]"); of an
    incremental table those that changed. `failures` says for each thing that failed which it is,
    what dbt or the destination said, and where to look; `warnings` names the checks that found
    something without stopping the run; `notes` are what passed checks say of themselves.
    """

    success: bool
    run_id: str
    seconds: float
    rows: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What failed and what to do, for the terminal; empty after a success."""
        if self.success:
            return ""
        what = "\n".join(f"  {line}" for line in self.failures) or "  the run was cancelled"
        return (
            f"The refresh failed; what was built before stays as it was.\n{what}\n"
            f"The whole log is in the Dagster UI (`make up`), run {self.run_id[:8]}. "
            "Mend the cause and run `cdp refresh` again."
        )


def refresh(
    settings: Settings,
    *,
    full: bool = False,
    every_schedule: bool = False,
    on_step: OnStep = unobserved,
    instance: dg.DagsterInstance | None = None,
) -> RefreshResult:
    """Run the job `refresh` (or `full_refresh`) in this process and return how it ended.

    The run is recorded where the Dagster UI shows it, may be started while the UI and the daemon
    run, and waits for a refresh that is running. With `every_schedule` it also delivers what has a
    schedule of its own. `on_step` is called after each model, test and file. `instance` is that of
    a run which needs a refresh within it. Raises DbtError when the dbt project does not parse.
    """
    name = "full_refresh" if full else "refresh"
    ops = {"activate__deliveries": EVERYTHING} if every_schedule else {}
    return _run(name, settings, {"on_step": _as_resource(on_step)}, instance, ops)


def run_erasures(settings: Settings) -> RefreshResult:
    """Run the job `erase_profiles` in this process, as `refresh` runs the refresh."""
    return _run("erase_profiles", settings, {}, None)


def verify(settings: Settings) -> RefreshResult:
    """Run the job `verify` in this process; its failures say which tables differ, and how."""
    return _run("verify", settings, {}, None)


def _run(
    job_name: str,
    settings: Settings,
    resources: Mapping[str, Any],
    instance: dg.DagsterInstance | None,
    ops: Mapping[str, Any] | None = None,
) -> RefreshResult:
    job = _definitions().resolve_job_def(job_name)
    with nullcontext(instance) if instance else open_instance(settings) as used:
        end_dead_runs(used)
        result = job.execute_in_process(
            instance=used,
            run_config=_configured(job.run_config, ops or {}),
            tags={EXECUTED_BY: process_mark()},
            raise_on_error=False,
            resources={"settings": settings, **resources},
        )
        return _summary(used, result)


@cache
def _definitions() -> dg.Definitions:
    return definitions()


def _as_resource(on_step: OnStep) -> dg.ResourceDefinition:
    return dg.ResourceDefinition.hardcoded_resource(on_step)


def _configured(run_config: Mapping[str, Any] | None, ops: Mapping[str, Any]) -> dict[str, Any]:
    """With the ops' configuration, and with the run's log for the UI and off the terminal."""
    chosen = dict(run_config or {})
    console = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return chosen | {"ops": chosen.get("ops", {}) | ops} | console


def _summary(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> RefreshResult:
    statistics = instance.get_run_stats(result.run_id)
    started, ended = statistics.start_time or 0.0, statistics.end_time or 0.0
    return RefreshResult(
        success=result.success,
        run_id=result.run_id,
        seconds=round(ended - started, 2),
        rows=_rows(result),
        failures=_failures(result),
        warnings=_warnings(result),
        notes=tuple(
            each.description
            for each in result.get_asset_check_evaluations()
            if each.passed and each.description
        ),
    )


def _rows(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    rows = {}
    for event in result.get_asset_materialization_events():
        written = event.materialization
        count = written.metadata.get("dagster/row_count") or written.metadata.get("rows_changed")
        if count is not None:
            name = ".".join(written.asset_key.path)
            label = f"{name}[{written.partition}]" if written.partition else name
            rows[label] = int(str(count.value))
    return rows


def _failures(result: dg.ExecuteInProcessResult) -> tuple[str, ...]:
    lines: list[str] = []
    for event in result.get_step_failure_events():
        data = event.step_failure_data
        thrown = data.user_failure_data
        if thrown is not None and thrown.description:
            lines += thrown.description.splitlines()
        elif data.error is not None:
            cause = data.error.cause or data.error
            lines.append(f"{event.step_key}: {cause.message.strip()}")
    return tuple(lines)


def _warnings(result: dg.ExecuteInProcessResult) -> tuple[str, ...]:
    return tuple(
        f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}: "
        f"{evaluation.description or 'found something'}"
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.WARN
    )
