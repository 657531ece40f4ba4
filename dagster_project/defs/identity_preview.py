"""The job that says what changed identity rules would do, before a refresh does it."""

import dagster as dg
import psycopg

from cdp.database import database_url
from cdp.identity_preview import preview_identity
from cdp.identity_rules import seeded_rules
from cdp.settings import Settings
from dagster_project.defs.jobs import QUIET

MOST_LISTED = 100
MOST_SUCCESSORS = 10


@dg.op
def preview_identity_rules(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]
) -> None:
    """Compare the profiles that stand with what the seeds in this folder would make of them."""
    with psycopg.connect(database_url(settings)) as connection:
        found = preview_identity(connection, seeded_rules())
    context.log.info("Of %d profiles: %s", found.profile_count, found.counts)
    listed = [
        dg.TableRecord(
            {
                "kind": move.kind,
                "identifier": move.primary_identifier,
                "profile_id": str(move.profile_id),
                "successors": move.listed_successors(MOST_SUCCESSORS),
            }
        )
        for move in found.moves[:MOST_LISTED]
    ]
    columns = ("kind", "identifier", "profile_id", "successors")
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    context.add_output_metadata(
        {
            "as_of": found.as_of.isoformat(),
            "profiles": found.profile_count,
            **{f"profiles that {kind}": count for kind, count in found.counts.items()},
            "members that move": {key: dict(counts) for key, counts in found.members.items()},
            "moves": dg.MetadataValue.table(listed, schema),
        }
    )


@dg.job(
    config=QUIET,
    description="What the identity seeds as they are now would merge and split. Writes nothing.",
)
def identity_preview() -> None:
    preview_identity_rules()
