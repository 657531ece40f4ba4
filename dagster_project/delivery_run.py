"""Every subscription of a run: destinations side by side, the audiences of each one after another.

A destination that is slow, broken or wrongly set up keeps no other waiting.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import psycopg

from cdp.settings import Settings
from dagster_project.delivery import audience_keys, deliver
from dagster_project.destinations.configured import make_destination
from dagster_project.destinations.destination import Delivered, Destination, HeldError
from dagster_project.subscriptions import DestinationRow, Subscription, Subscriptions
from dagster_project.withdrawal import withdraw_stale

EVERY_SCHEDULE = "all"
Status = Literal["succeeded", "partial", "held", "failed", "withdrawn"]


@dataclass(frozen=True)
class Outcome:
    """What came of one audience and destination; `audience_key` is None for the destination as a
    whole."""

    destination: str
    audience_key: str | None
    status: Status
    delivered: Delivered | None = None
    message: str = ""

    def __str__(self) -> str:
        what = f"{self.destination} {self.audience_key}" if self.audience_key else self.destination
        return f"{what}: {self.message}" if self.message else what


@dataclass(frozen=True)
class Work:
    """What a run is to deliver: the audiences, and per destination which of them it wants."""

    database: str
    settings: Settings
    subscriptions: Subscriptions
    audience_keys: tuple[str, ...]
    schedule: str
    holder: str
    on_wait: Callable[[str], None]

    @property
    def pairs(self) -> list[tuple[DestinationRow, str, Subscription]]:
        return [
            (row, key, chosen)
            for row in self.subscriptions.destinations
            for key in self.audience_keys
            if (chosen := self.subscriptions.of(row.name, key))
            and self.schedule in (EVERY_SCHEDULE, chosen.schedule)
        ]


def plan(
    database: str,
    settings: Settings,
    subscriptions: Subscriptions,
    *,
    schedule: str,
    holder: str,
    on_wait: Callable[[str], None],
    only: Sequence[tuple[str, int]] | None = None,
) -> Work:
    """The subscriptions with that schedule, of the audiences that exist now.

    `only` narrows it to pairs of destination and audience id.
    """
    keys = audience_keys(database)
    if only is not None:
        keys = [key for key in keys if key in _keys_of(database, only)]
        names = {name for name, _audience_id in only}
        subscriptions = Subscriptions(
            tuple(row for row in subscriptions.destinations if row.name in names),
            subscriptions.activations,
        )
    return Work(database, settings, subscriptions, tuple(keys), schedule, holder, on_wait)


def run(work: Work) -> Iterator[Outcome]:
    """Deliver and withdraw, and tell each outcome as soon as it is known. Raises nothing."""
    wanted = {row.name: row for row, _key, _chosen in work.pairs}
    # A destination that nobody subscribes to any more is asked to let go of what it holds.
    rows = [
        row
        for row in work.subscriptions.destinations
        if row.name in wanted or work.schedule == EVERY_SCHEDULE
    ]
    outcomes: queue.Queue[Outcome | None] = queue.Queue()
    cancelled = threading.Event()

    def serve(row: DestinationRow) -> None:
        try:
            for outcome in _serve(work, row, cancelled):
                outcomes.put(outcome)
        finally:
            outcomes.put(None)

    with ThreadPoolExecutor(max_workers=max(len(rows), 1)) as pool:
        try:
            for row in rows:
                pool.submit(serve, row)
            running = len(rows)
            while running:
                outcome = outcomes.get()
                if outcome is None:
                    running -= 1
                else:
                    yield outcome
        finally:
            cancelled.set()


def _serve(work: Work, row: DestinationRow, cancelled: threading.Event) -> Iterator[Outcome]:
    try:
        destination = make_destination(row, work.settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other destinations go on
        yield Outcome(row.name, None, "failed", message=str(error))
        return
    for other, key, chosen in work.pairs:
        if other.name == row.name and not cancelled.is_set():
            yield _deliver(work, destination, key, chosen)
    if not cancelled.is_set():
        yield from _withdraw(work, destination)


def _deliver(work: Work, destination: Destination, key: str, chosen: Subscription) -> Outcome:
    try:
        delivered = deliver(
            work.database,
            destination,
            key,
            subscription=chosen,
            holder=work.holder,
            on_wait=work.on_wait,
        )
    except HeldError as error:
        return Outcome(destination.name, key, "held", message=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other audiences go out
        return Outcome(destination.name, key, "failed", message=str(error))
    status: Status = "partial" if delivered.warning else "succeeded"
    return Outcome(destination.name, key, status, delivered, delivered.warning or "")


def _withdraw(work: Work, destination: Destination) -> Iterator[Outcome]:
    try:
        subscribed = [
            key
            for key in audience_keys(work.database)
            if work.subscriptions.of(destination.name, key)
        ]
        withdrawn = withdraw_stale(
            work.database, destination, subscribed, holder=work.holder, on_wait=work.on_wait
        )
    except HeldError as error:
        yield Outcome(destination.name, None, "held", message=str(error))
    except Exception as error:  # noqa: BLE001 - it is told, and tried again by the next run
        yield Outcome(destination.name, None, "failed", message=str(error))
    else:
        for key in withdrawn:
            yield Outcome(destination.name, key, "withdrawn")


def _keys_of(database: str, pairs: Sequence[tuple[str, int]]) -> set[str]:
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select audience_key from segment.audiences where audience_id = any(%s)",
            [[audience_id for _name, audience_id in pairs]],
        ).fetchall()
    return {str(key) for (key,) in rows}
