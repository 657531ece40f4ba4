"""Taking away what a destination holds of audiences that are not to be there any more."""

from collections.abc import Callable, Sequence

import psycopg

from dagster_project import acknowledged
from dagster_project.delivery import audience_keys
from dagster_project.delivery_attempt import Attempt, begin, connections, find_audience
from dagster_project.destinations.destination import Delivered, Destination
from dagster_project.exclusive import exclusive
from dagster_project.subscriptions import Subscription

# The audience may be gone from segment.audiences; what was delivered of it is still known.
HELD = """
select
    states.audience_id,
    states.audience_key,
    audiences.definition_version,
    coalesce(audiences.last_built_at, now()) as as_of
from activate.subscription_states as states
left join segment.audiences on states.audience_id = audiences.audience_id
where states.destination = %(destination)s and states.audience_key = %(audience_key)s
"""


def withdraw_stale(
    database: str,
    destination: Destination,
    current_keys: Sequence[str],
    *,
    holder: str = "cdp withdrawal",
    on_wait: Callable[[str], None] = lambda _message: None,
) -> list[str]:
    """Take away what the destination holds of audiences that are gone; return their keys.

    Without any audience at all nothing is withdrawn: an empty source is more likely a mistake.
    """
    if not audience_keys(database):
        return []
    with psycopg.connect(database) as connection:
        held = acknowledged.held_audiences(connection, destination.name)
    stale = sorted(set(held) - set(current_keys))
    for key in stale:
        with exclusive(database, f"{destination.name} {key}", holder=holder, on_wait=on_wait):
            _withdraw(database, destination, key, on_wait)
    return stale


def _withdraw(
    database: str, destination: Destination, key: str, on_wait: Callable[[str], None]
) -> None:
    with connections(database) as (snapshot, log):
        names = {"destination": destination.name, "audience_key": key}
        audience = find_audience(snapshot, HELD, names)
        if audience is None:  # another run was faster
            return
        attempt = begin(
            log,
            snapshot,
            destination,
            audience=audience,
            subscription=Subscription(key, destination.name),
            on_progress=on_wait,
        )

        def work() -> Delivered:
            delivered = _let_everybody_leave(attempt)
            if delivered.warning is None:
                acknowledged.forget(log, destination.name, audience.audience_id)
            return delivered

        attempt.record(work, done="withdrawn")


def _let_everybody_leave(attempt: Attempt) -> Delivered:
    if attempt.destination.takes_whole_audiences:
        attempt.destination.withdraw(attempt.audience.audience_key)
        return Delivered(rows=0)
    count = acknowledged.find_changes(
        attempt.snapshot,
        attempt.destination.name,
        attempt.audience,
        (),
        None,
        is_withdrawn=True,
    )
    delivered = attempt.hand_over((), count, is_whole=False)
    if attempt.outbox.count() and delivered.warning is None:
        return Delivered(delivered.rows, warning="Some of its members could not be taken back yet.")
    return delivered
