"""`cdp load`: bulk history through the service."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from cdp.cli.terminal import console, progress_bar, ready_settings
from cdp.errors import UserError
from cdp.loader import LoadResult, load_file
from cdp.service import running_service
from cdp.settings import load_settings
from cdp.write_keys import create_key, list_keys, revoke_key


def load(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Events, one JSON object a line.")
    ],
    shift_to_now: Annotated[
        bool, typer.Option(help="Move all times by whole days: the last day becomes today (UTC).")
    ] = False,
    source: Annotated[
        str | None, typer.Option(help="Name of the source, where the service has write keys.")
    ] = None,
    write_key: Annotated[
        str | None, typer.Option(envvar="CDP_WRITE_KEY", help="Key of an existing source.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A service elsewhere, such as https://events.example.com.")
    ] = None,
) -> None:
    """Load a file of events (.ndjson or .ndjson.gz). Repeating it is safe; Ctrl-C and go on too."""
    with _service(url, write_key, source) as (address, key), progress_bar() as bar:
        task = bar.add_task(file.name, total=None)
        result = load_file(
            file,
            url=address,
            write_key=key,
            shift_to_now=shift_to_now,
            checkpoint_dir=load_settings().home / "loads",
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    show_result(file, result)


@contextlib.contextmanager
def _service(
    url: str | None, write_key: str | None, source: str | None
) -> Iterator[tuple[str, str | None]]:
    """The address of the service and the key to send: ours, or one elsewhere as it was given."""
    if url:
        if source:
            raise UserError("--source goes with the service of this folder; give --write-key.")
        yield url, write_key
        return
    settings, database = ready_settings()
    with running_service(settings) as address, _key(database, write_key, source) as key:
        yield address, key


@contextlib.contextmanager
def _key(database: str, write_key: str | None, source: str | None) -> Iterator[str | None]:
    """The key to send: the given one, or one made for this load where the service has keys."""
    if write_key:
        yield write_key
        return
    with psycopg.connect(database, autocommit=True) as connection:
        if not list_keys(connection):
            if source:
                raise UserError(
                    f"--source {source}: the service has no write keys, so every event lands as"
                    ' "default". Run `cdp keys create SOURCE` first, or leave --source out.'
                )
            yield None
            return
        key = create_key(connection, source or "load")
        newest = list_keys(connection)[-1]
        try:
            yield key
        finally:
            revoke_key(connection, newest.write_key_id)


def show_result(file: Path, result: LoadResult) -> None:
    """Print what became of the file, with the first reasons of what was rejected."""
    parts = [f"{result.accepted:,} accepted", f"{result.rejected:,} rejected"]
    if result.skipped:
        parts.append(f"{result.skipped:,} lines had landed before")
    console.print(f"{file.name}: {', '.join(parts)}")
    for number, message in result.reasons:
        console.print(f"  line {number}: {message}", markup=False)
    if result.rejected:
        console.print("What was rejected is kept in raw.rejected_events.")
