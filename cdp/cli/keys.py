"""`cdp keys`: write keys, one or more per source."""

from typing import Annotated

import psycopg
import typer
from rich.table import Table

from cdp.cli.terminal import console, ready_settings
from cdp.write_keys import create_key, list_keys, revoke_key

app = typer.Typer(help="Write keys: who may send events, and as which source.")


@app.command()
def create(
    source: Annotated[str, typer.Argument(help="Name of the source, such as web or ios-app.")],
) -> None:
    """Make a write key for a source. It is shown once and never again."""
    _settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        key = create_key(connection, source)
    console.print(key, markup=False, soft_wrap=True)


@app.command("list")
def list_all() -> None:
    """Show all keys, without the keys themselves."""
    _settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        keys = list_keys(connection)
    if not keys:
        console.print("No write keys: on loopback the service takes events from anybody.")
        return
    table = Table("id", "source", "created", "revoked", box=None, padding=(0, 2, 0, 0))
    for key in keys:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
        table.add_row(
            str(key.write_key_id), key.source, f"{key.created_at:%Y-%m-%d %H:%M}", revoked
        )
    console.print(table)


@app.command()
def revoke(
    write_key_id: Annotated[int, typer.Argument(help="The id that `cdp keys list` shows.")],
) -> None:
    """Revoke a key. Running services refuse it within seconds."""
    settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        key = revoke_key(connection, write_key_id)
    console.print(
        f"Revoked key {key.write_key_id} of {key.source}; "
        f"in effect within {settings.write_key_refresh_seconds:g} s."
    )
