"""`cdp tokens`: access tokens of the read side."""

from typing import Annotated

import psycopg
import typer
from rich.table import Table

from cdp.access_tokens import create_token, list_tokens, revoke_token
from cdp.cli.terminal import console, ready_settings

app = typer.Typer(help="Access tokens: who may ask for decisions, read and manage.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, such as shop or crm-sync.")],
    scopes: Annotated[
        str, typer.Option(help="What it allows: decide, read and manage, joined by commas.")
    ] = "decide,read",
) -> None:
    """Make an access token. It is shown once and never again."""
    _settings, database = ready_settings()
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    with psycopg.connect(database) as connection:
        token = create_token(connection, name, wanted)
    console.print(token, markup=False, soft_wrap=True)


@app.command("list")
def list_all() -> None:
    """Show all tokens, without the tokens themselves."""
    _settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        tokens = list_tokens(connection)
    if not tokens:
        console.print("No access tokens: on loopback the read side answers anybody.")
        return
    table = Table("id", "name", "scopes", "created", "revoked", box=None, padding=(0, 2, 0, 0))
    for token in tokens:
        table.add_row(
            str(token.access_token_id),
            token.name,
            ", ".join(token.scopes),
            f"{token.created_at:%Y-%m-%d %H:%M}",
            f"{token.revoked_at:%Y-%m-%d %H:%M}" if token.revoked_at else "",
        )
    console.print(table)


@app.command()
def revoke(
    access_token_id: Annotated[int, typer.Argument(help="The id that `cdp tokens list` shows.")],
) -> None:
    """Revoke a token. Running services refuse it within seconds."""
    settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        token = revoke_token(connection, access_token_id)
    console.print(
        f"Revoked token {token.access_token_id} of {token.name}; "
        f"in effect within {settings.write_key_refresh_seconds:g} s."
    )
