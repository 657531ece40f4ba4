"""Keeping Python's garbage collection from making requests wait, and dbt work for it."""

import contextlib
import gc
from collections.abc import Iterator


def keep_imported() -> None:
    """Leave what a process has imported and built out of garbage collection.

    Otherwise each full collection visits all of it again while requests wait: measured, 50 ms at a
    time on the read side, and a 99th percentile of 64 ms instead of 20.
    """
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for cycles less often: dbt makes many objects and hardly a cycle.

    Measured: a refresh that finds nothing to do takes a sixth less processor time.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
