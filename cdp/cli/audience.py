"""`cdp audience`: look at a definition before a refresh does."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import psycopg
import typer
from psycopg.rows import dict_row
from rich.table import Table

from cdp.audience_definitions import Defined, defined_audiences, seeded_audiences
from cdp.audience_preview import AS_OF, preview_sql
from cdp.audience_rules import CompiledAudience, Warehouse, audience_members_sql, compile_audiences
from cdp.audience_schema import audience_schema
from cdp.cli.terminal import console, ready_settings
from cdp.errors import UserError

DRAFT = "the definition"

app = typer.Typer(help="Audiences: check a definition, read its SQL, see who it would be.")
Key = Annotated[str, typer.Argument(help="Key of an audience.")]


@app.command()
def check() -> None:
    """Check every definition of seeds/audiences.csv and name each mistake. Needs no database."""
    compiled = compile_audiences(texts(seeded_audiences()), AS_OF)
    mistakes = [f"{key}: {each}" for key, one in compiled.items() for each in one.problems]
    if mistakes:
        raise UserError("\n".join(["seeds/audiences.csv has mistakes:", *mistakes]))
    console.print(f"{len(compiled)} definitions are understood.")


@app.command()
def schema() -> None:
    """Show the JSON Schema of definitions, as docs/audience_definition.schema.json keeps it."""
    typer.echo(json.dumps(audience_schema(), indent=2))


@app.command()
def sql(
    audience_key: Key,
    warehouse: Annotated[
        str, typer.Option(help="Whose SQL to show: postgres or bigquery.")
    ] = "postgres",
) -> None:
    """Show the SQL that a definition compiles to. Needs no database for seeds/audiences.csv."""
    names: dict[str, Warehouse] = {"postgres": "postgres", "bigquery": "bigquery"}
    if warehouse not in names:
        raise UserError(f"--warehouse is {warehouse!r}; give postgres or bigquery.")
    definitions = texts(seeded_audiences())
    if audience_key not in definitions:
        definitions = everything_defined(ready_settings()[1])
    audience = understood(definitions, audience_key, names[warehouse])
    # Not through the console: it would wrap lines, and SQL is for copying.
    typer.echo(audience_members_sql(audience, AS_OF, warehouse=names[warehouse]))


@app.command()
def preview(
    audience_key: Annotated[str | None, typer.Argument(help="Key of an audience.")] = None,
    definition: Annotated[
        str | None, typer.Option("--definition", "-d", help="A definition as JSON instead.")
    ] = None,
) -> None:
    """Show who a definition would bring in now: size, share, samples, overlaps. Writes nothing."""
    if (audience_key is None) == (definition is None):
        raise UserError("Give the key of an audience, or --definition with a definition as JSON.")
    _settings, database = ready_settings()
    definitions = everything_defined(database)
    if definition is not None:
        definitions = definitions | {DRAFT: definition}
    audience = understood(definitions, audience_key or DRAFT)
    show(ask(database, audience))


def texts(defined: Mapping[str, Defined]) -> dict[str, str]:
    """Definitions (JSON text) by key."""
    return {key: each.definition for key, each in defined.items()}


def everything_defined(database: str) -> dict[str, str]:
    """Definitions (JSON text) by key, those that came over HTTP included."""
    with psycopg.connect(database) as connection:
        return texts(defined_audiences(connection))


def understood(
    definitions: dict[str, str], key: str, warehouse: Warehouse = "postgres"
) -> CompiledAudience:
    """The compiled definition. Raises UserError when it is not there or has mistakes."""
    if key not in definitions:
        known = ", ".join(sorted(definitions))
        raise UserError(f"Nobody defines an audience {key!r}; there are {known}.")
    audience = compile_audiences(definitions, AS_OF, warehouse)[key]
    if audience.problems:
        raise UserError("\n".join(f"{key}: {problem}" for problem in audience.problems))
    return audience


def ask(database: str, audience: CompiledAudience) -> dict[str, Any]:
    """The preview's row. Raises UserError when the warehouse has not been built."""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        connection.read_only = True
        try:
            found = connection.execute(preview_sql(audience).encode()).fetchone()
        except psycopg.errors.UndefinedTable:
            found = None
    if found is None or found["as_of"] is None:
        raise UserError("The warehouse is not built yet; run `cdp refresh`.")
    return found


def show(found: dict[str, Any]) -> None:
    share = found["member_count"] / found["profile_count"] if found["profile_count"] else 0
    console.print(
        f"[bold]{found['member_count']:,}[/bold] of {found['profile_count']:,} profiles"
        f" ({share:.1%}) as of {found['as_of']:%Y-%m-%d %H:%M} UTC"
    )
    people = Table(
        "email", "user_id", "spend", "orders", "last seen", box=None, padding=(0, 2, 0, 0)
    )
    for each in found["sample"]:
        people.add_row(
            each["email"] or "",
            each["user_id"] or "",
            str(each["total_spend"]),
            str(each["total_orders"]),
            each["last_seen_at"][:16],
        )
    console.print(people)
    overlaps = Table("audience", "members", "of these", box=None, padding=(0, 2, 0, 0))
    for each in found["overlaps"]:
        overlaps.add_row(
            each["audience_key"], f"{each['member_count']:,}", f"{each['shared_count']:,}"
        )
    console.print(overlaps)
