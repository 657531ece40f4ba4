"""The commands that run the platform: refresh, status, stop, reset."""

import shutil
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from cdp.cli.terminal import console, progress_bar, ready_settings
from cdp.database import embedded
from cdp.errors import UserError
from cdp.settings import Settings, load_settings
from cdp.status import Status, is_database_up, read_status, running_service_url


def refresh(
    full: Annotated[
        bool, typer.Option("--full", help="Compute every table from raw events again.")
    ] = False,
) -> None:
    """Bring every table and every CSV file up to date with what has landed."""
    settings, _url = ready_settings()
    run_refresh(settings, full=full)


def run_refresh(settings: Settings, *, full: bool = False) -> None:
    """Run the Dagster job `refresh` here, with a progress bar. Raises UserError when it fails."""
    # Dagster and dbt take seconds to import; only the commands that need them pay.
    from dagster_project.run import refresh as run  # noqa: PLC0415

    with progress_bar() as bar:
        task = bar.add_task("dbt and Dagster start", total=None)

        def on_step(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        result = run(settings, full=full, on_step=on_step)
    if not result.success:
        raise UserError(result.message)
    console.print(f"  refreshed in {result.seconds:.1f} s, Dagster run {result.run_id[:8]}")
    for warning in result.warnings:
        console.print("  [yellow]warning[/yellow] ", end="")
        console.print(warning, markup=False, soft_wrap=True)


def verify() -> None:
    """Compute everything again in scratch schemas, and compare; exit with 1 where it differs."""
    settings, _url = ready_settings()
    from dagster_project.run import verify as run  # noqa: PLC0415 - takes seconds to import

    result = run(settings)
    if not result.success:
        raise UserError("The tables differ from a full refresh.\n" + "\n".join(result.failures))
    for note in result.notes:
        console.print(note, markup=False, soft_wrap=True)


def status() -> None:
    """Say what runs, how far the batch is behind, and what was rejected."""
    settings = load_settings()
    if not is_database_up(settings):
        console.print("database    not running; `make up` or `cdp refresh` starts it")
        console.print(f"service     {running_service_url(settings) or 'not running'}")
        return
    show_status(read_status(settings))


def show_status(reading: Status) -> None:
    """Print a reading of the platform."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("database", f"{reading.database}, {reading.landed_events:,} events landed")
    table.add_row("service", reading.service or "not running; `make up` starts it")
    table.add_row("Dagster", reading.dagster or "not running; `make up` starts it")
    table.add_row("batch", _describe_batch(reading))
    if reading.profiles is not None:
        members = ", ".join(f"{key} {count:,}" for key, count in reading.audiences.items())
        table.add_row("", f"{reading.profiles:,} profiles; {members or 'no audience yet'}")
    rejected = ", ".join(f"{count:,} {code}" for code, count in reading.rejected.items())
    table.add_row("rejected", f"{rejected}; see raw.rejected_events" if rejected else "none")
    console.print(table)
    if reading.oldest_transaction_seconds > 60:
        console.print(
            f"[yellow]A transaction has been open for {reading.oldest_transaction_seconds:,.0f} s "
            "and holds the batch back; pg_stat_activity, ordered by xact_start, names it.[/yellow]"
        )


def _describe_batch(reading: Status) -> str:
    if reading.as_of is None:
        return "never refreshed; run `cdp refresh`"
    described = f"as of {reading.as_of:%Y-%m-%d %H:%M:%S} UTC"
    if not reading.pending_events or reading.pending_since is None:
        return f"{described}, up to date"
    minutes = (datetime.now(UTC) - reading.pending_since).total_seconds() / 60
    return f"{described}, {reading.pending_events:,} events behind (the oldest {minutes:,.0f} min)"


def stop() -> None:
    """Stop the embedded database. `cdp up` stops with Ctrl-C."""
    settings = load_settings()
    server = embedded(settings)
    if server is None:
        raise UserError("DATABASE_URL names another server; stop that one where it runs.")
    if running_service_url(settings):
        raise UserError("The service is running and needs it. Stop `make up` with Ctrl-C instead.")
    console.print("The database has stopped." if server.stop() else "The database was not running.")


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove all local data: the embedded database, Dagster's runs and the exports."""
    settings = load_settings()
    if settings.database_url:
        raise UserError(
            "DATABASE_URL names another server, and reset never drops what it did not create. "
            "Drop the schemas raw, collect, unify, segment, activate and decide there yourself."
        )
    if running_service_url(settings):
        raise UserError("The service is running. Stop `make up` first.")
    if not settings.home.exists():
        console.print(f"Nothing to remove: {settings.home} does not exist.")
        return
    if not yes:
        typer.confirm(f"Remove everything under {settings.home}?", abort=True)
    server = embedded(settings)
    if server:
        server.stop()
        shutil.rmtree(server.socket_dir, ignore_errors=True)
    shutil.rmtree(settings.home)
    console.print(f"Removed {settings.home}.")
