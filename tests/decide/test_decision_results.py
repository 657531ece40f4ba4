"""decide.decision_results: who counts for which arm of a rule, from when on, and how sure it is."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from cdp.postgres import EmbeddedPostgres
from tests.decide.conftest import AS_OF, order
from tests.decide.test_holdouts import id_of
from tests.warehouse import build, land

COUNTED = ("count", "conversion_count")
BEFORE, SINCE, LATELY = (AS_OF - timedelta(days=days) for days in (20, 9, 3))
LOG = """
insert into decide.decisions
    (decision_id, profile_id, subject_id, experience, rule_key, audience_keys, context,
    is_holdout, holdout_percent, rule_version, decided_at)
values (%s, %s, %s, 'any', %s, '{}', '{}', %s, %s, %s, %s)
"""


class Decisions:
    """The log of decisions, as the service writes it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def add(
        self,
        rule: str,
        profile_id: str | None,
        is_holdout: bool,
        at: datetime,
        *,
        subject_id: str | None = None,
        percent: float | None = 50,
        version: str = "v1",
    ) -> None:
        subject = subject_id or (profile_id if percent is not None else None)
        noted = [rule, is_holdout, percent, version, at]
        self._connection.execute(LOG, [uuid.uuid4(), profile_id, subject, *noted])


def shopper(number: int) -> str:
    return id_of("user_id", f"shopper-{number}")


def log_all(decisions: Decisions) -> None:
    for number in range(20):
        kept_out = number >= 10
        decisions.add("begun_later", shopper(number), False, BEFORE, percent=0)
        decisions.add("begun_later", shopper(number), kept_out, SINCE, version="v2")
        decisions.add("never", shopper(number), False, BEFORE, percent=0)
        decisions.add("upgraded", shopper(number), False, BEFORE, percent=None)
        at = SINCE + timedelta(seconds=number != 10)
        decisions.add("upgraded", shopper(number), kept_out, at, percent=None, version="v2")
        decisions.add("too_young", shopper(number), False, BEFORE, percent=0)
        decisions.add("too_young", shopper(number), kept_out, LATELY, version="v2")
    for number in range(8):
        subject = id_of("anonymous_id", f"browser-{number}")
        decisions.add("unknown", None, number >= 4, SINCE, subject_id=subject)
    decisions.add("unknown", None, False, SINCE, percent=None)


def bought(number: int, days_ago: int, amount: float = 50) -> dict[str, Any]:
    return order(f"shopper-{number}", amount, days_ago)


@pytest.fixture(scope="module")
def results(cluster: EmbeddedPostgres) -> Iterator[dict[str, dict[str, Any]]]:
    """The row of each rule."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database measured template migrated")
    url = make_conninfo(cluster.url("measured"))
    with psycopg.connect(url) as connection:
        log_all(Decisions(connection))
        land(connection, [bought(number, 25) for number in range(20)])
        land(connection, [bought(number, 8) for number in range(10)])
        land(connection, [order(f"new-{n}", 80, 8, anonymousId=f"browser-{n}") for n in (0, 1, 4)])
        land(connection, [{"type": "page", "name": "Home", "anonymousId": "browser-5"}])
    build(url, as_of=AS_OF, exclude="test_type:data")
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute("select * from decide.decision_results").fetchall()
    yield {row["rule_key"]: row for row in rows}
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("drop database measured with (force)")


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    """Profiles and conversions: treated, then held out."""
    names = [f"{arm}_{name}" for arm in ("treated", "held_out") for name in COUNTED]
    return tuple(row[name] for name in names)


def test_what_was_decided_before_there_was_a_holdout_says_nothing_about_it(
    results: dict[str, dict[str, Any]],
) -> None:
    assert counts(results["begun_later"]) == (10, 10, 10, 0)
    assert results["begun_later"]["conversion_lift"] == 1
    assert results["begun_later"]["revenue_lift_usd"] == 50


def test_a_rule_without_a_holdout_shows_whom_it_treated(
    results: dict[str, dict[str, Any]],
) -> None:
    assert counts(results["never"]) == (20, 0, 0, 0)
    assert results["never"]["conversion_lift"] is None


def test_rows_from_before_it_was_noted_count_from_the_first_who_was_kept_out_on(
    results: dict[str, dict[str, Any]],
) -> None:
    assert counts(results["upgraded"]) == (10, 10, 10, 0)


def test_a_decision_counts_once_its_window_is_over(results: dict[str, dict[str, Any]]) -> None:
    assert counts(results["too_young"]) == (20, 0, 0, 0)
    assert results["too_young"]["conversion_lift"] is None


def test_whoever_was_unknown_counts_as_the_profile_that_their_identifier_leads_to_now(
    results: dict[str, dict[str, Any]],
) -> None:
    assert counts(results["unknown"]) == (4, 2, 4, 1)
    assert results["unknown"]["treated_revenue_usd"] == 160
