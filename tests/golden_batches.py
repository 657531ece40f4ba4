"""Landing the golden files (cdp/golden.py), each event in a transaction of its own."""

import psycopg

from cdp.golden import batch_of_events
from tests.warehouse import land


def land_batch(database: str, batch: int) -> None:
    """Land the events of a batch, numbered from 1."""
    with psycopg.connect(database, autocommit=True) as connection:
        for event in batch_of_events(batch):
            land(connection, [event])
