"""`cdp replay-rejected`: what was rejected, once more."""

from typing import Annotated

import typer

import cdp.replay
from cdp.cli.terminal import console, ready_settings


def replay_rejected(
    code: Annotated[
        str | None, typer.Option(help="Only what was rejected for this reason, e.g. too_deep.")
    ] = None,
) -> None:
    """Send rejected events through again, after a fix; what is accepted now lands as if then."""
    settings, database = ready_settings()
    result = cdp.replay.replay_rejected(database, settings, code=code)
    console.print(
        f"{result.replayed:,} replayed with {result.accepted_events:,} events, "
        f"{result.still_rejected:,} still rejected"
    )
    if result.suppressed_events:
        console.print(f"  {result.suppressed_events:>7,} events of suppressed identifiers dropped")
    for reason, count in result.reasons.most_common():
        console.print(f"  {count:>7,} {reason}")
