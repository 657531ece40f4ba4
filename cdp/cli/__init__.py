"""The command `cdp`."""

import sys
from typing import NoReturn

import psycopg
import typer

from cdp.cli import (
    audience,
    bigquery,
    data,
    deliveries,
    demo,
    doctor,
    erase,
    identity,
    keys,
    load,
    replay,
    stack,
    tokens,
    up,
    webhook_receiver,
)
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
app.command("replay-rejected")(replay.replay_rejected)
app.command()(erase.erase)
app.command()(erase.erasures)
app.command()(stack.refresh)
app.command()(stack.verify)
app.command()(doctor.doctor)
app.command()(stack.status)
app.command()(stack.stop)
app.command()(stack.reset)
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="tokens")
app.add_typer(audience.app, name="audience")
app.add_typer(identity.app, name="identity")
app.add_typer(bigquery.app, name="bigquery")
app.add_typer(deliveries.app, name="deliveries")
app.command("webhook-receiver")(webhook_receiver.webhook_receiver)
app.command(context_settings=data.PASS_THROUGH)(data.psql)
app.command(context_settings=data.PASS_THROUGH)(data.dbt)


def main() -> None:
    """Run the command line. An error that its reader can put right is a message, no traceback."""
    try:
        app()
    except UserError as error:
        fail(str(error))
    except psycopg.OperationalError as error:
        fail(
            f"The database did not answer: {str(error).strip()}\n"
            "Check DATABASE_URL, or remove it to use the embedded PostgreSQL."
        )


def fail(message: str) -> NoReturn:
    """Print what went wrong and exit with status 1."""
    errors.print("[red]cdp:[/red] ", end="")
    errors.print(message, markup=False, soft_wrap=True)
    sys.exit(1)
