"""How far the batch was behind, refresh by refresh, as Dagster shows it."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dagster_project.dbt_translator import WATERMARK
from dagster_project.trend_line import trend_line

REFRESHES = 60
LAG = "lag_seconds"


def lag_metadata(instance: dg.DagsterInstance, waiting_since: datetime | None) -> dict[str, Any]:
    """How long the oldest event that a refresh brings had waited by now; 0 where none waited.

    A number, which Dagster plots by itself, and a picture of it over the last refreshes.
    """
    waited = (datetime.now(UTC) - waiting_since).total_seconds() if waiting_since else 0.0
    lags = [*reversed(_earlier(instance)), round(waited, 1)]
    words = (
        f"{len(lags)} refreshes, the oldest event of each waited {min(lags):,.0f} to "
        f"{max(lags):,.0f} s, of this one {lags[-1]:,.0f} s"
    )
    return {LAG: lags[-1], "lag": dg.MetadataValue.md(trend_line(lags, words))}


def _earlier(instance: dg.DagsterInstance) -> list[float]:
    """Newest first."""
    found = instance.fetch_materializations(WATERMARK, limit=REFRESHES - 1).records
    reported = [each.asset_materialization.metadata for each in found if each.asset_materialization]
    return [float(str(each[LAG].value)) for each in reported if LAG in each]
