"""Real purchases: the profiles equal totals that were worked out without a database."""

import gzip
import json
from decimal import Decimal

import psycopg

from cdp.settings import PROJECT_DIR
from tests.unify.conftest import UNIFY
from tests.warehouse import build, land

DEMO = PROJECT_DIR / "seeds" / "demo"


def test_orders_and_spend_of_every_cdnow_customer_equal_the_expected_file(database: str) -> None:
    expected = json.loads((DEMO / "cdnow_sample_expected.json").read_text())
    with gzip.open(DEMO / "cdnow_sample.ndjson.gz", "rt") as lines:
        events = [json.loads(line) for line in lines]
    with psycopg.connect(database) as connection:
        land(connection, events)
    build(database, as_of="1998-07-01T00:00:00Z", select=UNIFY)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select user_id, total_orders, total_spend, first_order_at::date::text,"
            " last_order_at::date::text from unify.profiles"
        ).fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        customer: (orders, Decimal(spend), first_day, last_day)
        for customer, (orders, spend, _cds, first_day, last_day) in expected["per_customer"].items()
    }
    assert sum(row[2] for row in rows) == Decimal(expected["total_spend"])
