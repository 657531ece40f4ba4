"""The write side on a fresh database."""

from collections.abc import Iterator

import pytest

from tests.collect.service import Service, running


@pytest.fixture
def service(database: str) -> Iterator[Service]:
    """A service on loopback without write keys: open, every event of source `default`."""
    with running(database) as service:
        yield service
