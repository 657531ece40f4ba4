"""Sending again what a destination did not take."""

from collections.abc import Callable, Sequence

import psycopg

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.delivery_run import EVERY_SCHEDULE, Outcome, plan, run
from dagster_project.outbox import revive
from dagster_project.subscriptions import read_subscriptions


def resend(
    settings: Settings,
    *,
    destination: str | None = None,
    holder: str,
    on_wait: Callable[[str], None],
) -> list[Outcome]:
    """Try every row of `activate.delivery_rows` now, those that were given up included."""
    with psycopg.connect(database_url(settings), autocommit=True) as connection:
        pairs = revive(connection, destination)
    return redeliver(settings, pairs, holder=holder, on_wait=on_wait)


def redeliver(
    settings: Settings,
    pairs: Sequence[tuple[str, int]],
    *,
    holder: str,
    on_wait: Callable[[str], None],
) -> list[Outcome]:
    """Deliver these pairs of destination and audience id, which sends what is due of them."""
    if not pairs:
        return []
    work = plan(
        database_url(settings),
        settings,
        read_subscriptions(),
        schedule=EVERY_SCHEDULE,
        holder=holder,
        on_wait=on_wait,
        only=pairs,
    )
    return list(run(work))


def describe(outcomes: Sequence[Outcome]) -> str:
    """In one line what came of it."""
    delivered = [outcome.delivered for outcome in outcomes if outcome.delivered]
    rows = sum(each.rows for each in delivered)
    left = sum(each.rows_failed + each.rows_unsent for each in delivered)
    return f"{rows:,} rows delivered, {left:,} still to deliver"
