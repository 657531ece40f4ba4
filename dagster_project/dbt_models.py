"""A dbt project as one asset definition: models and seeds are assets, tests are checks."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from dagster_dbt import dbt_assets

from cdp.database import database_url
from cdp.engine import dbt_variables
from cdp.rebase import rebase_restored
from cdp.settings import Settings
from dagster_project.audience_reports import MISTAKES_CHECK, mistakes, report_audiences
from dagster_project.dbt_process import NodeResult, stream_dbt
from dagster_project.dbt_results import check_result, describe, materialization
from dagster_project.dbt_selection import selection
from dagster_project.dbt_translator import UNIQUE_ID, WATERMARK, StageTranslator
from dagster_project.exclusive import REFRESH, exclusive
from dagster_project.lag import lag_metadata
from dagster_project.landed import MOST_COUNTED, landed_since_watermark, oldest_waiting
from dagster_project.progress import OnStep

RAW_EVENTS = dg.AssetKey(["raw", "events"])
AUDIENCES = dg.AssetKey(["segment", "audiences"])
BuildEvent = dg.MaterializeResult[None] | dg.AssetCheckResult


class DbtBuild(dg.Config):
    """How dbt builds."""

    full_refresh: bool = False


def dbt_models(
    manifest: Mapping[str, Any],
    project_dir: Path,
    translator: StageTranslator,
    *,
    left_out: Sequence[str] = (),
) -> dg.AssetsDefinition:
    """The project in `project_dir`, described by its manifest, without the models `left_out`.

    A run builds what it selected, in one dbt invocation, while no other refresh of the same
    database runs. Each asset and check is reported when its node has finished. The run fails at
    the end with dbt's messages when a node failed; what dbt skipped is not materialised.
    """

    @dbt_assets(
        manifest=manifest,
        dagster_dbt_translator=translator,
        name="dbt_models",
        exclude=" ".join(manifest["nodes"][each]["name"] for each in left_out) or None,
    )
    def build(
        context: dg.AssetExecutionContext,
        config: DbtBuild,
        settings: dg.ResourceParam[Settings],
        on_step: dg.ResourceParam[OnStep],
    ) -> Iterator[BuildEvent]:
        url = database_url(settings)
        holder = f"cdp refresh, run {context.run.run_id[:8]}"

        def on_wait(message: str) -> None:
            context.log.info(message)
            on_step(message, 0, 1)

        with exclusive(url, REFRESH, holder=holder, on_wait=on_wait):
            _rebase(context, url)
            waiting_since = _report_raw(context, url)
            yield from _build(
                context,
                config,
                settings,
                on_step,
                manifest=manifest,
                project_dir=project_dir,
                waiting_since=waiting_since,
            )

    return build


def _rebase(context: dg.AssetExecutionContext, url: str) -> None:
    # Whichever program starts first after a restore.
    reads_raw = any(key.path[0] == "raw" for key in context.assets_def.dependency_keys)
    if reads_raw and (rebased := rebase_restored(url)):
        context.log.warning("%d events were restored from another cluster.", rebased)


def _report_raw(context: dg.AssetExecutionContext, url: str) -> datetime | None:
    """Put on record what ingest has written since the run before: it is no part of Dagster.

    Returns since when the oldest of it has waited.
    """
    read = {key for key in context.assets_def.dependency_keys if key.path[0] == "raw"}
    waiting_since = None
    if RAW_EVENTS in read:
        with psycopg.connect(url) as connection:
            landed = landed_since_watermark(connection)
            waiting_since = oldest_waiting(connection)
        metadata = {"new_events": landed.count, "counted_up_to": MOST_COUNTED}
        context.log_event(dg.AssetMaterialization(RAW_EVENTS, metadata=metadata))
    for key in sorted(read - {RAW_EVENTS}):
        context.log_event(dg.AssetMaterialization(key))
    return waiting_since


def _build(
    context: dg.AssetExecutionContext,
    config: DbtBuild,
    settings: Settings,
    on_step: OnStep,
    *,
    manifest: Mapping[str, Any],
    project_dir: Path,
    waiting_since: datetime | None,
) -> Iterator[BuildEvent]:
    # dbt parses again when it finds what it parsed for another engine.
    target_dir = settings.home / ("dbt" if settings.engine == "postgres" else "dbt_bigquery")
    arguments = ["build", *selection(context, manifest)]
    arguments += ["--full-refresh"] if config.full_refresh else []
    context.log.info("dbt %s", " ".join(arguments))
    assets = {
        context.assets_def.get_asset_spec(key).metadata[UNIQUE_ID]: key
        for key in context.selected_asset_keys
    }
    checks = {
        context.assets_def.get_spec_for_check_key(key).metadata[UNIQUE_ID]: key
        for key in context.selected_asset_check_keys
    }
    results: list[NodeResult] = []
    stream = stream_dbt(
        arguments,
        project_dir=project_dir,
        target_dir=target_dir,
        environment=dbt_variables(settings),
    )
    with contextlib.closing(stream):  # at once, whatever happens here: it holds dbt
        for result in stream:
            results.append(result)
            on_step(result.name, result.number, result.total)
            node = _node(manifest, result.unique_id)
            _log(context, result, node)
            if result.unique_id in checks and result.status != "skipped":
                is_about_mistakes = result.name == MISTAKES_CHECK and result.failures
                found = mistakes(database_url(settings)) if is_about_mistakes else []
                yield check_result(checks[result.unique_id], result, node, target_dir, found)
            elif result.unique_id in assets and result.status == "success":
                key = assets[result.unique_id]
                lag = lag_metadata(context.instance, waiting_since) if key == WATERMARK else {}
                yield materialization(key, result, node, target_dir, lag)
                if key == AUDIENCES:
                    report_audiences(context, database_url(settings))
    _raise_if_failed(results, manifest)


def _log(context: dg.AssetExecutionContext, result: NodeResult, node: Mapping[str, Any]) -> None:
    # What went well is on record as a materialisation or a check with dbt's message.
    if result.failed:
        context.log.error(describe(result, node))
    elif result.status == "warn":
        context.log.warning(describe(result, node))


def _raise_if_failed(results: list[NodeResult], manifest: Mapping[str, Any]) -> None:
    failed = [result for result in results if result.failed]
    if not failed:
        return
    skipped = sum(result.status == "skipped" for result in results)
    raise dg.Failure(
        description="\n".join(
            describe(result, _node(manifest, result.unique_id)) for result in failed
        ),
        metadata={"failed": len(failed), "skipped": skipped},
        allow_retries=False,
    )


def _node(manifest: Mapping[str, Any], unique_id: str) -> Mapping[str, Any]:
    for kind in ("nodes", "unit_tests", "functions", "sources"):
        if unique_id in manifest.get(kind, {}):
            node: Mapping[str, Any] = manifest[kind][unique_id]
            return node
    return {}
