"""The command `cdp`."""

import sys

import psycopg
import typer

from cdp.cli import audience, data, demo, keys, load, stack, up
from cdp.cli.terminal import errors
from cdp.errors import UserError

app = typer.Typer(
    help="A customer data platform in the warehouse: collect, unify, segment, activate, decide.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(demo.demo)
app.command()(up.up)
app.command()(load.load)
app.command()(stack.refresh)
app.command()(stack.status)
app.command()(stack.stop)
app.command()(stack.reset)
app.add_typer(keys.app, name="keys")
app.add_typer(audience.app, name="audience")
app.command(context_settings=data.PASS_THROUGH)(data.psql)
app.command(context_settings=data.PASS_THROUGH)(data.dbt)


def main() -> None:
    """Run the command line. An error that its reader can put right is a message, no traceback."""
    try:
        app()
    except UserError as error:
        errors.print(f"[red]cdp:[/red] {error}", markup=True)
        sys.exit(1)
    except psycopg.OperationalError as error:
        errors.print("[red]cdp:[/red] The database did not answer: ", end="")
        errors.print(str(error).strip(), markup=False)
        errors.print("Check DATABASE_URL, or remove it to use the embedded PostgreSQL.")
        sys.exit(1)
