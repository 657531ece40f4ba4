"""What the decisions brought, to look at."""

import dagster as dg
import psycopg
from psycopg.rows import dict_row

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.decision_plot import results_plot, results_table
from dagster_project.stages import OWNERS

RESULTS = dg.AssetKey(["decide", "decision_results"])
QUERY = "select * from decide.decision_results order by treated_count desc, rule_key"


@dg.asset(
    key=dg.AssetKey(["decide", "decision_report"]),
    deps=[RESULTS],
    group_name="decide",
    owners=OWNERS["decide"],
    kinds={"report"},
)
def decision_report(settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[None]:
    """Conversion and revenue after decisions, by rule and against the holdout."""
    with psycopg.connect(database_url(settings), row_factory=dict_row) as connection:
        results = connection.execute(QUERY).fetchall()
    return dg.MaterializeResult(
        metadata={
            "rules": len(results),
            "decided_profiles": sum(
                row["treated_count"] + row["held_out_count"] for row in results
            ),
            "results": dg.MetadataValue.md(results_table(results)),
            "plot": dg.MetadataValue.md(results_plot(results)),
        }
    )
