"""`cdp identity`: why identifiers are one person, and what other rules would make of them."""

import json
from typing import Annotated, Any

import psycopg
import typer
from rich.table import Table

from cdp.cli.terminal import console, ready_settings
from cdp.errors import UserError
from cdp.identity_evidence import MOST_SHOWN
from cdp.identity_evidence import explain as explanations
from cdp.identity_preview import KINDS, IdentityPreview, preview_identity
from cdp.identity_rules import seeded_rules

MOST_LISTED = 10
MEANINGS = {
    "merge": "would go into another profile",
    "split": "would be parted",
    "rename": "would live on under another id",
    "dissolve": "would have no identifier left",
}

app = typer.Typer(help="Identity: why identifiers are one person, and what other rules would do.")


@app.command()
def explain(
    identifier: Annotated[
        str,
        typer.Argument(help="A user_id, e-mail, phone, anonymous_id (email:... if need be) or id."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, a list.")] = False,
) -> None:
    """Show the identifiers of a profile, the event that made each link, and its past ids."""
    _settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        connection.read_only = True
        try:
            found = explanations(connection, identifier)
        except psycopg.errors.UndefinedTable:
            raise UserError("The warehouse is not built yet; run `cdp refresh`.") from None
    if not found:
        raise UserError(
            f"No identifier {identifier!r} was seen up to the last refresh. Write it as events "
            "carry it; `cdp refresh` brings in what has landed since."
        )
    if as_json:
        typer.echo(json.dumps(found, default=str, indent=2))
    else:
        for each in found:
            show_explanation(each)


@app.command()
def preview() -> None:
    """Show which profiles the seeds as they are now would merge and split. Writes nothing."""
    rules = seeded_rules()
    _settings, database = ready_settings()
    with psycopg.connect(database) as connection:
        show_preview(preview_identity(connection, rules))


def show_explanation(found: dict[str, Any]) -> None:
    title = f"Profile {found['profile_id']}" if found["profile_id"] else "No profile"
    console.print(f"[bold]{title}[/bold], {found['identifier_count']:,} identifiers")
    if found["identifier_count"] > MOST_SHOWN:
        console.print(f"  the oldest {MOST_SHOWN:,} follow")
    table = Table(
        "identifier", "value", "first seen", "users", "links", box=None, padding=(0, 2, 0, 0)
    )
    for each in found["identifiers"]:
        links = f"no: {each['why_blocked']}" if each["is_blocked"] else "yes"
        table.add_row(
            each["identifier_type"],
            _plain(each["identifier_value"]),
            _minute(each["first_seen_at"]),
            str(each["user_count"]),
            _plain(links),
        )
    console.print(table)
    table = Table("link", "", "made by", "message", "at", box=None, padding=(0, 2, 0, 0))
    for link in found["links"]:
        event = link["event"] or {}
        table.add_row(
            *(
                _plain(f"{each['identifier_type']} {each['identifier_value']}")
                for each in link["identifiers"]
            ),
            _plain(f"{event.get('event_type', 'an event that is gone')}")
            + ("" if link["joins"] else ", joins nothing"),
            _plain(str(event.get("message_id", ""))),
            _minute(event.get("occurred_at", "")),
        )
    if found["links"]:
        console.print(table)
    for past_id in found["past_ids"]:
        console.print(f"  was known as {past_id}")
    for change in found["changes"]:
        console.print(
            f"  {_minute(change['changed_at'])} {change['kind']}: "
            f"{change['old_profile_id']} -> {change['profile_id']}"
        )


def show_preview(found: IdentityPreview) -> None:
    console.print(
        f"The seeds as they are now, on the events up to {found.as_of:%Y-%m-%d %H:%M:%S} UTC "
        f"({found.profile_count:,} profiles):"
    )
    if not found.moves:
        console.print("  nobody merges, splits or moves")
    for kind in KINDS:
        moves = [move for move in found.moves if move.kind == kind]
        if moves:
            console.print(f"  [bold]{len(moves):,}[/bold] {MEANINGS[kind]}")
        for move in moves[:MOST_LISTED]:
            after = move.listed_successors(MOST_LISTED)
            text = f"    {move.primary_identifier} {move.profile_id}" + (
                f" -> {after}" if after else ""
            )
            console.print(text, markup=False, soft_wrap=True)
        if len(moves) > MOST_LISTED:
            console.print(f"    and {len(moves) - MOST_LISTED:,} more")
    if found.members:
        table = Table("audience members", *KINDS, box=None, padding=(0, 2, 0, 0))
        for audience_key, counts in found.members.items():
            table.add_row(audience_key, *(f"{counts.get(kind, 0):,}" for kind in KINDS))
        console.print(table)
    console.print("Nothing was written; `cdp refresh` applies the seeds.")


def _minute(instant: str) -> str:
    return str(instant)[:16].replace("T", " ")


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
