"""The five stages in the order in which data passes them: schemas, dbt folders, Dagster groups."""

STAGES = ("collect", "unify", "segment", "activate", "decide")

# Who is asked about an asset of a stage. A model may name others in `meta`, `dagster`, `owners`.
OWNERS = {
    "collect": ["team:data"],
    "unify": ["team:data"],
    "segment": ["team:marketing"],
    "activate": ["team:marketing"],
    "decide": ["team:data"],
}


def stage_of(schema: str) -> str:
    """The stage that a warehouse schema belongs to. What ingest lands in `raw` is collected."""
    return "collect" if schema == "raw" else schema
