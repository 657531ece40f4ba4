"""One emulator of BigQuery per test process, and data sets of its own for each test."""

import itertools
from collections.abc import Iterator

import pytest

from cdp.settings import Settings
from tests.bigquery_emulator import Emulator, running_emulator

numbers = itertools.count()


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as running:
        yield running


@pytest.fixture
def settings(emulator: Emulator) -> Settings:
    return emulator.settings(f"test{next(numbers)}")
