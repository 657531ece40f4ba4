"""What every command shares: the terminal, the settings and a started database."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cdp.database import embedded, start_database
from cdp.settings import Settings, load_settings

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def progress_bar() -> Progress:
    """A bar with a count and the time; on a pipe or in a log it stays silent."""
    return Progress(
        TextColumn("  {task.description:<34}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not sys.stdout.isatty(),
    )


def ready_settings() -> tuple[Settings, str]:
    """The settings and the owner's connection string of a started, migrated database."""
    settings = load_settings()
    server = embedded(settings)
    if server and not (server.data_dir / "PG_VERSION").exists():
        console.print(f"Creating the database under {settings.home}")
    return settings, start_database(settings)
