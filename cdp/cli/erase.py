"""`cdp erase` and `cdp erasures`: somebody asks to be forgotten, and wants it in writing."""

from typing import Annotated
from uuid import UUID

import psycopg
import typer
from rich.table import Table

from cdp.cli.terminal import console, ready_settings
from cdp.erasure_requests import (
    IDENTIFIER_TYPES,
    Mode,
    certificate_text,
    read_requests,
    request_erasure,
)
from cdp.errors import UserError
from cdp.settings import Settings

Values = list[str] | None


def erase(
    *,
    user_id: Annotated[Values, typer.Option(help="A user_id; may be given several times.")] = None,
    email: Annotated[Values, typer.Option(help="An e-mail address.")] = None,
    phone: Annotated[Values, typer.Option(help="A phone number, with its country code.")] = None,
    anonymous_id: Annotated[Values, typer.Option(help="The id of a browser or device.")] = None,
    profile: Annotated[
        UUID | None, typer.Option(help="A profile, with all it consists of.")
    ] = None,
    whole_profile: Annotated[
        bool, typer.Option(help="Also every identifier of the profiles that these belong to.")
    ] = False,
    mode: Annotated[
        str, typer.Option(help="delete; suppress (drop what comes later); or both.")
    ] = "both",
    later: Annotated[
        bool, typer.Option(help="Only record the request; Dagster carries it out.")
    ] = False,
) -> None:
    """Erase somebody everywhere, refresh what is left, and print the certificate."""
    settings, url = ready_settings()
    given = zip(IDENTIFIER_TYPES, (user_id, email, phone, anonymous_id), strict=True)
    identifiers = [(kind, value) for kind, values in given for value in values or ()]
    with psycopg.connect(url) as connection:
        request_id = request_erasure(
            connection,
            identifiers,
            profile_id=profile,
            mode=_mode(mode),
            is_whole_profile=whole_profile,
        )
    if later:
        console.print(f"request {request_id}: the job erase_profiles carries it out")
        return
    _run(settings)
    _print_certificate(url, request_id)


def erasures(
    request_id: Annotated[
        UUID | None, typer.Argument(help="Print the certificate of this request.")
    ] = None,
) -> None:
    """List what was asked to be erased, or print one certificate as JSON."""
    _settings, url = ready_settings()
    if request_id:
        _print_certificate(url, request_id)
        return
    with psycopg.connect(url) as connection:
        requests = read_requests(connection)
    table = Table("request", "asked at (UTC)", "mode", "status", box=None, padding=(0, 2, 0, 0))
    for each in requests:
        status = f"{each['status']}: {each['error']}" if each["error"] else each["status"]
        asked_at = f"{each['requested_at']:%Y-%m-%d %H:%M}"
        table.add_row(str(each["request_id"]), asked_at, each["mode"], status)
    console.print(table if requests else "Nobody asked to be erased.")


def _mode(text: str) -> Mode:
    modes: dict[str, Mode] = {"delete": "delete", "suppress": "suppress", "both": "both"}
    if text not in modes:
        raise UserError(f"--mode is {text!r}; give one of {', '.join(modes)}.")
    return modes[text]


def _run(settings: Settings) -> None:
    # Dagster and dbt take seconds to import; only the commands that need them pay.
    from dagster_project.run import run_erasures  # noqa: PLC0415

    result = run_erasures(settings)
    if not result.success:
        raise UserError("The erasure failed.\n" + "\n".join(result.failures))


def _print_certificate(url: str, request_id: UUID) -> None:
    with psycopg.connect(url) as connection:
        found = read_requests(connection, request_id)
    if not found:
        raise UserError(f"There is no request {request_id}; `cdp erasures` lists them.")
    if found[0]["status"] != "completed":
        raise UserError(
            f"Request {request_id} is {found[0]['status']}"
            + (
                f": {found[0]['error']}"
                if found[0]["error"]
                else "; the job erase_profiles does it."
            )
        )
    console.print(certificate_text(found[0]["certificate"]), markup=False, soft_wrap=True)
