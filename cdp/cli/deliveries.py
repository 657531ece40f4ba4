"""`cdp deliveries`: what was delivered, what was not, and what to do about it."""

from typing import Annotated

import psycopg
import typer
from rich.table import Table

from cdp.cli.terminal import console, ready_settings
from cdp.deliveries import enable as enable_destination
from cdp.deliveries import last_deliveries, unsettled
from cdp.errors import UserError

app = typer.Typer(help="Deliveries: the last ones, rows to be sent again, destinations held.")
SPACING = (0, 2, 0, 0)
HOLDER = "cdp deliveries"


@app.command("list")
def list_all(
    destination: Annotated[
        str | None, typer.Option(help="Only messages to this destination.")
    ] = None,
) -> None:
    """Show the last delivery of each audience, and the messages that have not arrived."""
    _settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        newest = last_deliveries(connection)
        messages = unsettled(connection, destination)
    if not newest:
        console.print("Nothing was delivered yet; `cdp refresh` delivers.")
        return
    table = Table("destination", "audience", "status", "rows", "at", box=None, padding=SPACING)
    for each in newest:
        rows = "" if each.rows is None else f"{each.rows:,}"
        at = f"{each.started_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(each.destination, each.audience_key, each.status, rows, at)
    console.print(table)
    for each in newest:
        if each.error:
            console.print(f"{each.destination} {each.audience_key}: {each.error}", markup=False)
    if not messages:
        return
    waiting = Table(
        "message", "audience", "status", "rows", "tried", "next", "why", box=None, padding=SPACING
    )
    for message in messages:
        next_at = "" if message.status == "dead" else f"{message.next_attempt_at:%m-%d %H:%M:%S}"
        waiting.add_row(
            message.message_id,
            f"{message.destination} {message.audience_key}",
            message.status,
            f"{message.row_count:,}",
            str(message.attempts),
            next_at,
            message.error or "",
        )
    console.print(waiting)


@app.command()
def resend(
    destination: Annotated[str | None, typer.Option(help="Only to this destination.")] = None,
) -> None:
    """Send every row again that has not arrived, those that were given up included."""
    settings, _database = ready_settings()
    # Dagster's part of the code is slow to import; only this command needs it.
    from dagster_project.resend import describe  # noqa: PLC0415
    from dagster_project.resend import resend as send_again  # noqa: PLC0415

    outcomes = send_again(settings, destination=destination, holder=HOLDER, on_wait=console.print)
    console.print(describe(outcomes) if outcomes else "No row waits to be sent.")
    troubles = [str(outcome) for outcome in outcomes if outcome.message]
    if troubles:
        raise UserError("\n".join(troubles))


@app.command()
def confirm(
    audience: Annotated[str, typer.Argument(help="Key of the audience that has become empty.")],
    destination: Annotated[str, typer.Argument(help="Where it is to be emptied.")],
) -> None:
    """Deliver an audience although it has become empty, which removes its members there."""
    settings, database = ready_settings()
    from dagster_project.delivery import deliver  # noqa: PLC0415 - as above
    from dagster_project.destinations.configured import make_destination  # noqa: PLC0415
    from dagster_project.subscriptions import read_subscriptions  # noqa: PLC0415

    subscriptions = read_subscriptions()
    row = subscriptions.destination(destination)
    delivered = deliver(
        database,
        make_destination(row, settings),
        audience,
        subscription=subscriptions.required(destination, audience),
        may_become_empty=True,
        holder=HOLDER,
        on_wait=console.print,
    )
    console.print(f"{delivered.rows:,} rows of {audience} delivered to {destination}")
    if delivered.warning:
        raise UserError(delivered.warning)


@app.command()
def enable(
    destination: Annotated[str, typer.Argument(help="A destination that was disabled.")],
) -> None:
    """Deliver again to a destination that answered 410, or asked to be left alone."""
    _settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        enable_destination(connection, destination)
    console.print(f"{destination} is enabled; `cdp deliveries resend` sends what waits.")
