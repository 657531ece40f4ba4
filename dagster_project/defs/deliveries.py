"""What leaves the warehouse: every audience to every destination, and each one on its own."""

from typing import Any

import dagster as dg

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.delivery import audience_keys, deliver, withdraw_stale
from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.destination import Delivered
from dagster_project.progress import OnStep

AUDIENCE_CSV = dg.AssetKey(["activate", "audience_csv"])
DELIVERIES = dg.AssetKey(["activate", "deliveries"])
SOURCES = [
    dg.AssetKey(["segment", "audiences"]),
    dg.AssetKey(["segment", "audience_members"]),
    dg.AssetKey(["unify", "profiles"]),
]
audience_partitions = dg.DynamicPartitionsDefinition(name="audience")


@dg.asset(
    key=AUDIENCE_CSV,
    deps=SOURCES,
    group_name="activate",
    kinds={"csv"},
    partitions_def=audience_partitions,
)
def audience_csv(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """The CSV file of an audience, with a manifest beside it.

    One partition per audience. The job `refresh` writes all of them; materialise a partition here
    to write one again.
    """
    delivered = deliver(
        database_url(settings),
        CsvFiles(settings.exports),
        context.partition_key,
        holder=f"cdp delivery, run {context.run.run_id[:8]}",
        on_wait=context.log.info,
    )
    return dg.MaterializeResult(metadata=_metadata(delivered))


@dg.asset(key=DELIVERIES, deps=SOURCES, group_name="activate", kinds={"postgres", "table"})
def deliveries(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    on_step: dg.ResourceParam[OnStep],
) -> dg.MaterializeResult[None]:
    """One row per attempt to deliver an audience to a destination.

    Delivers every audience that exists now, whichever partitions were known before. An audience
    that fails does not keep the others; the run fails at the end and names it.
    """
    url = database_url(settings)
    destination = CsvFiles(settings.exports)
    keys = audience_keys(url)
    _register_partitions(context.instance, keys)
    rows, failures = 0, []
    for number, key in enumerate(keys, start=1):
        try:
            delivered = deliver(
                url,
                destination,
                key,
                holder=f"cdp delivery, run {context.run.run_id[:8]}",
                on_wait=context.log.info,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the other audiences go out
            failures.append(f"{destination.name} {key}: {error}")
            context.log.error(failures[-1])
            continue
        rows += delivered.rows
        on_step(f"{key}.csv", number, len(keys))
        # The partition of the asset that stands for this file, although this run is not its own.
        context.log_event(
            dg.AssetMaterialization(AUDIENCE_CSV, partition=key, metadata=_metadata(delivered))
        )
    withdrawn = withdraw_stale(url, destination, keys)
    for key in withdrawn:
        context.log.info("Withdrew %s: the audience no longer exists.", key)
    if failures:
        raise dg.Failure(
            description="\n".join(failures),
            metadata={"failed": len(failures), "delivered": len(keys) - len(failures)},
        )
    return dg.MaterializeResult(
        metadata={"audiences": len(keys), "rows": rows, "withdrawn": len(withdrawn)}
    )


def _register_partitions(instance: dg.DagsterInstance, keys: list[str]) -> None:
    """Make the partitions exactly the audiences that exist. Without any, leave them."""
    name = "audience"
    known = set(instance.get_dynamic_partitions(name))
    instance.add_dynamic_partitions(name, [key for key in keys if key not in known])
    for key in known.difference(keys) if keys else ():
        instance.delete_dynamic_partition(name, key)


def _metadata(delivered: Delivered) -> dict[str, Any]:
    facts = dict(delivered.facts)
    path = facts.pop("path", None)
    shown: dict[str, Any] = {"dagster/row_count": delivered.rows, **facts}
    return shown | ({"path": dg.MetadataValue.path(str(path))} if path else {})
