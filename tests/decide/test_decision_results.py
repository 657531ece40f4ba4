"""decide.decision_results: who counts for which arm of a rule, from when on, and how sure it is."""

import uuid
from datetime import datetime, timedelta
from math import sqrt
from statistics import mean, variance
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.decide.conftest import AS_OF, order
from tests.decide.test_holdouts import id_of
from tests.warehouse import build, land

COUNTED = ("count", "conversion_count")
BEFORE, SINCE, LATELY = (AS_OF - timedelta(days=days) for days in (20, 9, 3))
# What each patron spends within the window, by number, and who is compared.
SPENT = [40] * 15 + [0] * 15 + [40] * 3 + [0] * 57 + [100, 60, 0, 0]
COMPARED = (
    ("thirty_a_side", range(30), range(30, 60)),
    ("one_short", range(30), range(30, 59)),
    ("nobody_bought", range(33, 63), range(60, 90)),
    ("two_a_side", range(90, 92), range(92, 94)),
)
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
        decisions.add("begun_lately", shopper(number), kept_out, LATELY)
    for number in range(8):
        subject = id_of("anonymous_id", f"browser-{number}")
        decisions.add("unknown", None, number >= 4, SINCE, subject_id=subject)
    decisions.add("unknown", None, False, SINCE, percent=None)
    for rule, treated, held_out in COMPARED:
        for number in treated:
            decisions.add(rule, id_of("user_id", f"patron-{number}"), False, SINCE)
        for number in held_out:
            decisions.add(rule, id_of("user_id", f"patron-{number}"), True, SINCE)


def bought(number: int, days_ago: int, amount: float = 50) -> dict[str, Any]:
    return order(f"shopper-{number}", amount, days_ago)


@pytest.fixture(scope="module")
def results(module_database: str) -> dict[str, dict[str, Any]]:
    """The row of each rule."""
    with psycopg.connect(module_database) as connection:
        log_all(Decisions(connection))
        land(connection, [bought(number, 25) for number in range(20)])
        land(connection, [bought(number, 8) for number in range(10)])
        land(connection, [order(f"new-{n}", 80, 8, anonymousId=f"browser-{n}") for n in (0, 1, 4)])
        land(connection, [{"type": "page", "name": "Home", "anonymousId": "browser-5"}])
        land(connection, [order(f"patron-{n}", 10, 30) for n in range(len(SPENT))])
        spending = [(n, amount) for n, amount in enumerate(SPENT) if amount]
        land(connection, [order(f"patron-{n}", amount, 8) for n, amount in spending])
    build(module_database, as_of=AS_OF, exclude="test_type:data")
    with psycopg.connect(module_database, row_factory=dict_row) as connection:
        rows = connection.execute("select * from decide.decision_results").fetchall()
    return {row["rule_key"]: row for row in rows}


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    """Profiles and conversions: treated, then held out."""
    names = [f"{arm}_{name}" for arm in ("treated", "held_out") for name in COUNTED]
    return tuple(row[name] for name in names)


def revenue_lift(row: dict[str, Any]) -> tuple[Any, ...]:
    """Revenue per profile, treated less held out, with its interval."""
    return tuple(row[f"revenue_lift{part}_usd"] for part in ("", "_low", "_high"))


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
    assert "begun_lately" not in results


def test_whoever_was_unknown_counts_as_the_profile_that_their_identifier_leads_to_now(
    results: dict[str, dict[str, Any]],
) -> None:
    assert counts(results["unknown"]) == (4, 2, 4, 1)
    assert results["unknown"]["treated_revenue_usd"] == 160


def test_revenue_of_thirty_a_side_is_compared_with_an_interval(
    results: dict[str, dict[str, Any]],
) -> None:
    treated, held_out = SPENT[:30], SPENT[30:60]
    lift = mean(treated) - mean(held_out)
    margin = 1.96 * sqrt(variance(treated) / 30 + variance(held_out) / 30)
    assert revenue_lift(results["thirty_a_side"]) == pytest.approx(
        (lift, lift - margin, lift + margin)
    )


@pytest.mark.parametrize(
    ("rule", "lift"), [("one_short", 20 - 120 / 29), ("two_a_side", 80), ("nobody_bought", 0)]
)
def test_revenue_of_few_or_without_a_difference_has_no_interval(
    results: dict[str, dict[str, Any]], rule: str, lift: float
) -> None:
    assert revenue_lift(results[rule]) == (pytest.approx(lift), None, None)
