"""Deliveries as Dagster sees them: one asset for all, and one per destination by audience."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg
import psycopg

from cdp.audience_definitions import defined_audiences
from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.delivery import deliver
from dagster_project.delivery_run import Outcome, plan, run
from dagster_project.destinations.configured import make_destination
from dagster_project.destinations.destination import Delivered
from dagster_project.freshness import WITH_THE_REFRESH, of_destination
from dagster_project.progress import OnStep
from dagster_project.stages import OWNERS
from dagster_project.subscriptions import (
    WITH_EACH_REFRESH,
    DestinationRow,
    Subscriptions,
    read_subscriptions,
)

DELIVERIES = dg.AssetKey(["activate", "deliveries"])
SOURCES = [
    dg.AssetKey(["segment", "audiences"]),
    dg.AssetKey(["segment", "audience_members"]),
    dg.AssetKey(["unify", "profiles"]),
]
PARTITIONS = "audience"
audience_partitions = dg.DynamicPartitionsDefinition(name=PARTITIONS)

EVERYTHING_ARRIVED = "everything_arrived"
COUNTS_AGREE = "acknowledged_rows_are_the_members"
# Compared only where the delivery was of the audience as it stands now.
DISAGREEING = """
select states.destination, states.audience_key, members.count, acknowledged.count
from activate.subscription_states as states
inner join segment.audiences
    on states.audience_id = audiences.audience_id and states.compared_at = audiences.last_built_at
cross join lateral (
    select count(*) from segment.audience_members
    where audience_members.audience_id = states.audience_id
) as members
cross join lateral (
    select count(*) from activate.acknowledged_rows
    where acknowledged_rows.destination = states.destination
        and acknowledged_rows.audience_id = states.audience_id
) as acknowledged
where states.row_format like 'delta %' and members.count <> acknowledged.count
    and not exists (
        select from activate.delivery_rows
        where delivery_rows.destination = states.destination
            and delivery_rows.audience_id = states.audience_id
    )
order by 1, 2
"""


class Deliveries(dg.Config):
    """Which subscriptions: `refresh`, a cron expression of seeds/activations.csv, or `all`."""

    schedule: str = WITH_EACH_REFRESH


def audience_asset_key(destination: str) -> dg.AssetKey:
    return dg.AssetKey(["activate", f"audience_{destination}"])


def audience_asset(row: DestinationRow, subscriptions: Subscriptions) -> dg.AssetsDefinition:
    """A destination, one partition per audience, to deliver one of them again."""

    @dg.asset(
        key=audience_asset_key(row.name),
        deps=SOURCES,
        group_name="activate",
        owners=OWNERS["activate"],
        kinds={row.kind},
        partitions_def=audience_partitions,
        # Runs of one destination wait for one another, not for those of others.
        pool=f"deliver_{row.name}",
        freshness_policy=of_destination(subscriptions, row.name),
        retry_policy=dg.RetryPolicy(
            max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
        ),
        description=(
            f"Audiences at the destination `{row.name}` ({row.kind}). One partition per audience. "
            "The job `refresh` delivers all of them; materialise a partition to deliver it again."
        ),
    )
    def audience(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult[None]:
        delivered = deliver(
            database_url(settings),
            make_destination(row, settings),
            context.partition_key,
            subscription=subscriptions.required(row.name, context.partition_key),
            holder=f"cdp delivery, run {context.run.run_id[:8]}",
            on_wait=context.log.info,
        )
        if delivered.warning:
            context.log.warning(delivered.warning)
        return dg.MaterializeResult(metadata=_metadata(delivered))

    return audience


@dg.asset(
    key=DELIVERIES,
    deps=SOURCES,
    group_name="activate",
    owners=OWNERS["activate"],
    kinds={"postgres", "table"},
    freshness_policy=WITH_THE_REFRESH,
    check_specs=[
        dg.AssetCheckSpec(
            EVERYTHING_ARRIVED,
            asset=DELIVERIES,
            description="Nothing is held back, waits to be tried again, or was given up.",
        ),
        dg.AssetCheckSpec(
            COUNTS_AGREE,
            asset=DELIVERIES,
            description="A destination in delta mode has acknowledged as many rows as there are "
            "members, unless some are known to be missing.",
        ),
    ],
)
def deliveries(
    context: dg.AssetExecutionContext,
    config: Deliveries,
    settings: dg.ResourceParam[Settings],
    on_step: dg.ResourceParam[OnStep],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """One row per attempt to deliver an audience to a destination.

    Delivers every audience that exists now, whichever partitions were known before. An audience or
    a destination that fails does not keep the others; the run fails at the end and names it.
    """
    url = database_url(settings)
    work = plan(
        url,
        settings,
        read_subscriptions(),
        schedule=config.schedule,
        holder=f"cdp delivery, run {context.run.run_id[:8]}",
        on_wait=context.log.info,
    )
    _add_partitions(context.instance, work.audience_keys)
    outcomes = []
    for number, outcome in enumerate(run(work), start=1):
        outcomes.append(outcome)
        _report(context, outcome)
        on_step(_step_name(outcome), min(number, len(work.pairs)), len(work.pairs))
    _forget_partitions(context.instance, url, work.audience_keys)
    failures = [outcome for outcome in outcomes if outcome.status == "failed"]
    delivered = [each.delivered for each in outcomes if each.delivered is not None]
    if failures:
        raise dg.Failure(
            description="\n".join(str(failure) for failure in failures),
            metadata={"failed": len(failures), "delivered": len(delivered)},
        )
    yield dg.MaterializeResult(
        metadata={
            "audiences": len(work.audience_keys),
            "rows": sum(each.rows for each in delivered),
            "withdrawn": sum(outcome.status == "withdrawn" for outcome in outcomes),
        }
    )
    yield _arrived(url, outcomes)
    yield _counted(url)


def _arrived(url: str, outcomes: Iterable[Outcome]) -> dg.AssetCheckResult:
    late = [str(outcome) for outcome in outcomes if outcome.status in ("held", "partial")]
    with psycopg.connect(url) as connection:
        dead = connection.execute(
            "select destination, count(*) from activate.delivery_rows where status = 'dead'"
            " group by destination order by destination"
        ).fetchall()
    late += [
        f"{name}: {count:,} rows were given up; run `cdp deliveries list`." for name, count in dead
    ]
    return dg.AssetCheckResult(
        check_name=EVERYTHING_ARRIVED,
        asset_key=DELIVERIES,
        passed=not late,
        severity=dg.AssetCheckSeverity.WARN,
        description="\n".join(late) or None,
    )


def _counted(url: str) -> dg.AssetCheckResult:
    with psycopg.connect(url) as connection:
        rows = connection.execute(DISAGREEING).fetchall()
    return dg.AssetCheckResult(
        check_name=COUNTS_AGREE,
        asset_key=DELIVERIES,
        passed=not rows,
        description="\n".join(
            f"{name} {key}: {members:,} members, {acknowledged:,} acknowledged"
            for name, key, members, acknowledged in rows
        )
        or None,
    )


def _report(context: dg.AssetExecutionContext, outcome: Outcome) -> None:
    if outcome.status == "failed":
        context.log.error(str(outcome))
    elif outcome.status in ("held", "partial"):
        context.log.warning(str(outcome))
    elif outcome.status == "withdrawn":
        context.log.info(
            "Withdrew %s from %s: no longer wanted.", outcome.audience_key, outcome.destination
        )
    if outcome.delivered is not None:
        # The partition of the asset that stands for this, although this run is not its own. What
        # has not all arrived is seen, not made: a destination that takes nothing becomes late.
        event = dg.AssetObservation if outcome.delivered.warning else dg.AssetMaterialization
        context.log_event(
            event(
                audience_asset_key(outcome.destination),
                partition=outcome.audience_key,
                metadata=_metadata(outcome.delivered),
            )
        )


def _step_name(outcome: Outcome) -> str:
    return f"{outcome.audience_key} to {outcome.destination}"


def _add_partitions(instance: dg.DagsterInstance, keys: tuple[str, ...]) -> None:
    known = set(instance.get_dynamic_partitions(PARTITIONS))
    instance.add_dynamic_partitions(PARTITIONS, [key for key in keys if key not in known])


def _forget_partitions(instance: dg.DagsterInstance, url: str, keys: tuple[str, ...]) -> None:
    """Leave the partitions of audiences that exist or are defined. Without any, leave them all.

    For one that is only defined a run may wait which is to build it, so definitions are read after
    the partitions: whoever adds one has stored its definition before.
    """
    known = set(instance.get_dynamic_partitions(PARTITIONS))
    with psycopg.connect(url) as connection:
        defined = {key for key, each in defined_audiences(connection).items() if each.is_enabled}
    for key in known.difference(keys, defined) if keys else ():
        instance.delete_dynamic_partition(PARTITIONS, key)


def _metadata(delivered: Delivered) -> dict[str, Any]:
    facts = dict(delivered.facts)
    path = facts.pop("path", None)
    shown: dict[str, Any] = {"dagster/row_count": delivered.rows, **facts}
    if delivered.rows_failed or delivered.rows_unsent:
        shown["rows_not_delivered"] = delivered.rows_failed + delivered.rows_unsent
    return shown | ({"path": dg.MetadataValue.path(str(path))} if path else {})
