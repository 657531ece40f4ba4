"""`cdp bigquery`: the data sets, and a check of a real project from end to end."""

import typer

from cdp.cli.terminal import console
from cdp.settings import load_settings

app = typer.Typer(help="BigQuery as the engine: set it up, and check it.", no_args_is_help=True)


@app.command()
def setup() -> None:
    """Create the data sets of the stages; needed once, with the right to create data sets."""
    # Google's libraries take a second to import.
    from cdp.bigquery.connection import connect  # noqa: PLC0415
    from cdp.bigquery.raw_tables import create_datasets  # noqa: PLC0415

    settings = load_settings()
    for name in create_datasets(connect(settings), settings):
        console.print(name)


@app.command()
def smoke() -> None:
    """Refresh the golden files on BigQuery and on PostgreSQL, and compare every public table.

    Three refreshes, the later ones of what is new, in data sets of their own, which are removed,
    with a thrown-away PostgreSQL. Costs some cents.
    """
    from cdp.bigquery.smoke import run_smoke  # noqa: PLC0415

    for table, rows in run_smoke(load_settings(), say=console.print).items():
        console.print(f"  {rows:>6,} rows alike  {table}")
