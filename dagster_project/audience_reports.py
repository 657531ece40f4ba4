"""What Dagster shows of each audience after a run: size, entries, exits, trend and SQL.

Each audience is a partition of the asset `segment/audience`, so it has a page with its history.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
import psycopg
from psycopg.rows import class_row

from cdp.audience_preview import AS_OF
from cdp.audience_rules import audience_members_sql, compile_audiences
from dagster_project.trend_line import trend_line

AUDIENCE = dg.AssetKey(["segment", "audience"])
# The same partitions as those of the CSV files, which the deliveries keep.
PARTITIONS = "audience"
MISTAKES_CHECK = "every_audience_definition_is_understood"
TREND_BUILDS = 60

LAST_BUILDS = """
select
    audiences.audience_key,
    audiences.definition,
    builds.built_at,
    builds.definition_version,
    builds.member_count,
    builds.entered_count,
    builds.exited_count,
    (
        select array_agg(earlier.member_count order by earlier.built_at)
        from (
            select member_count, built_at
            from segment.audience_builds
            where audience_id = audiences.audience_id
            order by built_at desc
            limit %(builds)s
        ) as earlier
    ) as sizes
from segment.audiences
inner join segment.audience_builds as builds
    on audiences.audience_id = builds.audience_id and audiences.last_built_at = builds.built_at
where audiences.is_enabled
order by audiences.audience_key
"""

MISTAKES = """
select audience_key || ', ' || coalesce(nullif(path, ''), 'definition') || ': ' || message
from segment.audience_errors
order by audience_key, error_number
"""


@dataclass(frozen=True)
class Build:
    """The last build of an enabled audience; `sizes` are its latest member counts, oldest first."""

    audience_key: str
    definition: str
    built_at: datetime
    definition_version: int
    member_count: int
    entered_count: int
    exited_count: int
    sizes: Sequence[int]


def last_builds(database: str) -> list[Build]:
    with (
        psycopg.connect(database) as connection,
        connection.cursor(row_factory=class_row(Build)) as cursor,
    ):
        return cursor.execute(LAST_BUILDS, {"builds": TREND_BUILDS}).fetchall()


def mistakes(database: str) -> list[str]:
    """One line per mistake in a definition: audience, path, and what was expected there."""
    with psycopg.connect(database) as connection:
        return [str(line) for (line,) in connection.execute(MISTAKES)]


def report_audiences(
    context: dg.AssetExecutionContext, database: str, only: str | None = None
) -> None:
    """Put the last build of each audience, or of one, on record as its partition's."""
    builds = last_builds(database)
    known = set(context.instance.get_dynamic_partitions(PARTITIONS))
    new = [each.audience_key for each in builds if each.audience_key not in known]
    context.instance.add_dynamic_partitions(PARTITIONS, new)
    for key, metadata in _described(builds):
        if only in (None, key):
            context.log_event(dg.AssetMaterialization(AUDIENCE, partition=key, metadata=metadata))


def described(database: str, audience_key: str) -> dict[str, Any]:
    """The metadata of one audience's last build; empty when it was not built or is disabled."""
    return dict(_described(last_builds(database))).get(audience_key, {})


def _described(
    builds: Sequence[Build],
) -> Iterator[tuple[str, dict[str, Any]]]:
    compiled = compile_audiences({each.audience_key: each.definition for each in builds}, AS_OF)
    for each in builds:
        yield (
            each.audience_key,
            {
                "members": dg.MetadataValue.int(each.member_count),
                "entered": dg.MetadataValue.int(each.entered_count),
                "exited": dg.MetadataValue.int(each.exited_count),
                "definition_version": dg.MetadataValue.int(each.definition_version),
                "built_at": dg.MetadataValue.timestamp(each.built_at),
                "trend": dg.MetadataValue.md(trend(each.sizes)),
                "sql": dg.MetadataValue.md(
                    f"```sql\n{audience_members_sql(compiled[each.audience_key], AS_OF)}\n```"
                ),
            },
        )


def trend(sizes: Sequence[int]) -> str:
    """Markdown of a small line: the sizes over the last builds, oldest first."""
    least, most = min(sizes), max(sizes)
    words = f"{len(sizes)} builds, from {least:,} to {most:,} members, now {sizes[-1]:,}"
    return trend_line(sizes, words)
