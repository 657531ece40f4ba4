"""`cdp demo`: the main job, end to end, on real input."""

from pathlib import Path
from typing import Any

import httpx
from rich.table import Table

from cdp.cli.stack import run_refresh
from cdp.cli.terminal import console, progress_bar, ready_settings
from cdp.database import embedded
from cdp.loader import LoadResult, load_file
from cdp.service import running_service
from cdp.settings import PROJECT_DIR, load_settings
from cdp.status import read_status

DEMO_DIR = PROJECT_DIR / "seeds" / "demo"
DEMO_FILES = (DEMO_DIR / "cdnow_sample.ndjson.gz", DEMO_DIR / "scenario.ndjson")
DECISION = {
    "user_id": "scenario-ada",
    "context": {"amount": 150, "category": "concert tickets", "channel": "web"},
}


def demo() -> None:
    """Collect, unify, segment, activate and decide on real purchases, then say what came out."""
    settings = load_settings()
    server = embedded(settings)
    was_running = server is not None and server.is_running()
    try:
        settings, _url = ready_settings()
        with running_service(settings) as url:
            console.print(f"[bold]1[/bold] Sending the demo's events to {url}")
            results = [_load(url, path) for path in DEMO_FILES]
            console.print("[bold]2[/bold] Refreshing profiles, audiences and CSV files")
            run_refresh(settings)
            console.print("[bold]3[/bold] Asking for a decision")
            reply = httpx.post(f"{url}/decide", json=DECISION, timeout=30)
            reply.raise_for_status()
    except KeyboardInterrupt:
        console.print("\nStopped; run `make demo` again to go on where it was.")
        if server is not None and not was_running:
            server.stop()
        raise SystemExit(130) from None
    reading = read_status(settings)
    show_summary(results, reading.profiles or 0, reading.audiences, settings.exports, reply.json())


def _load(url: str, path: Path) -> LoadResult:
    with progress_bar() as bar:
        task = bar.add_task(path.name, total=None)
        return load_file(
            path,
            url=url,
            shift_to_now=True,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def show_summary(
    results: list[LoadResult],
    profiles: int,
    audiences: dict[str, int],
    exports: Path,
    decision: dict[str, Any],
) -> None:
    """Print what came out: counts, members per audience, files, one decision, what to try next."""
    accepted = sum(result.accepted for result in results)
    rejected = sum(result.rejected for result in results)
    console.print(f"\n[bold]events in[/bold]   {accepted:,} accepted, {rejected:,} rejected")
    console.print(f"[bold]profiles[/bold]    {profiles:,}")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for index, (key, count) in enumerate(audiences.items()):
        table.add_row("[bold]audiences[/bold] " if index == 0 else "", f"{count:>7,}", key)
    console.print(table)
    console.print(f"[bold]CSV files[/bold]   {exports}")
    console.print(
        f"[bold]decision[/bold]    {DECISION['user_id']} at checkout: "
        f"[green]{decision['experience']}[/green] - {decision['reason']}"
    )
    console.print(
        "\nThe database keeps running (`cdp stop` ends it). Next:\n"
        "  .venv/bin/cdp status\n"
        "  .venv/bin/cdp psql -c 'select * from segment.audience_members limit 5'\n"
        "  make up        # the whole stack until Ctrl-C\n"
    )
