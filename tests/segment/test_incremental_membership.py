"""Members after any series of refreshes are those of a computation from scratch."""

from collections.abc import Mapping
from typing import Any

import psycopg

from cdp.audience_rules import audience_members_sql, compile_audiences
from tests.segment.test_membership import define
from tests.unify.test_incremental import History
from tests.warehouse import build

# Every way in which time, events, identities and other audiences decide.
RULES: Mapping[str, list[Any]] = {
    "recent": [{"days_since_last_event": 5}, {"days_since_last_event": 20}],
    "today": [{"last_event_at": {"$within_days": 2}}, {"last_event_at": {"$within_days": 12}}],
    "gone_quiet": [{"last_order_at": {"$not_within_days": 10}, "min_total_orders": 1}],
    "spenders": [{"min_spend_30d": 10}, {"min_total_spend": 30}, {"min_visit_count": 3}],
    "buyers": [
        {"$event": {"name": "Order Completed", "within_days": 14, "count": {"$gte": 2}}},
        {"$event": {"name": "Order Completed", "within_days": 30, "count": {"$lt": 2}}},
    ],
    "dear": [{"$event": {"name": "Order Completed", "sum": {"properties.total": {"$gt": 12}}}}],
    "returned": [
        {
            "$sequence": {
                "steps": [{"name": "Order Completed"}, {"name": "Order Refunded"}],
                "within_days": 25,
            }
        }
    ],
    "mixed": [
        {"$not": {"$audience": "recent"}, "$or": [{"$audience": "buyers"}, {"email": None}]},
        {"$not": {"$audience": "spenders"}, "traits.plan": {"$exists": True}},
    ],
    "half": [{"$bucket": {"split": "spring", "from": 0, "to": 50}}],
    "wrong": [{"min_total_orders": 1}, {"total_orders": "1"}, {"min_total_orders": 2}],
}
# A full run begins; then runs of all kinds, one of which ends before its members are written.
RUNS = ["full", "later", "died", "defined", "asked", "later"]


def table(connection: psycopg.Connection[Any], query: str) -> set[tuple[Any, ...]]:
    rows = connection.execute(query.encode()).fetchall()
    connection.rollback()
    return set(rows)


def from_scratch(connection: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """Key and profile of every member that the definitions ask for at the instant of the data."""
    rows = connection.execute("select audience_key, definition, is_enabled from segment.audiences")
    defined = {key: (text, is_enabled) for key, text, is_enabled in rows}
    as_of = "(select as_of from collect.refresh_window)"
    compiled = compile_audiences({key: text for key, (text, _) in defined.items()}, as_of)
    expected: set[tuple[str, str]] = set()
    for key, audience in compiled.items():
        if defined[key][1] and not audience.problems:
            found = connection.execute(audience_members_sql(audience, as_of).encode()).fetchall()
            expected |= {(key, str(profile_id)) for (profile_id,) in found}
    connection.rollback()
    return expected


MEMBERS = """
select audience_key, profile_id::text
from segment.audience_members inner join segment.audiences using (audience_id)
"""
REPLAYED = """
select audience_key, profile_id::text
from segment.audience_changes inner join segment.audiences using (audience_id)
group by audience_key, profile_id
having sum(case change when 'entered' then 1 else -1 end) = 1
"""
NOT_ALTERNATING = """
select audience_id, profile_id
from (
    select
        audience_id, profile_id, change,
        lag(change, 1, 'exited') over (
            partition by audience_id, profile_id order by change_number
        ) as previous
    from segment.audience_changes
) as changes
where change = previous
"""
EVALUATED_WHOLE = "select count(*) from segment.int_audiences__planned where is_whole"


def test_members_are_those_of_a_computation_from_scratch(database: str) -> None:
    history = History(database, seed=2)
    chance = history.chance
    with psycopg.connect(database) as connection:
        for key, rules in RULES.items():
            define(connection, key, rules[0])
        moves = 0
        for kind in RUNS:
            now = history.go_on()
            if kind == "defined":
                for key in chance.sample(sorted(RULES), 3):
                    define(connection, key, chance.choice(RULES[key]), chance.random() < 0.8)
            elif kind == "asked":
                connection.execute(
                    "insert into raw.audience_rebuilds (audience_key) values ('recent')"
                )
                connection.commit()
            elif kind == "died":
                lost = chance.choice(["audience_members audience_builds", "audience_builds"])
                exclude = f"watermark audience_catalog {lost}"
                build(database, as_of=now, exclude=exclude, command="run")
                continue
            build(database, as_of=now, command="build" if kind == "full" else "run")
            # What is wrong keeps its last good members: not compared.
            wrong = table(connection, "select distinct audience_key from segment.audience_errors")
            members = {row for row in table(connection, MEMBERS) if row[:1] not in wrong}
            assert members == from_scratch(connection), kind
            assert table(connection, REPLAYED) == table(connection, MEMBERS)
            assert table(connection, NOT_ALTERNATING) == set()
            [(whole,)] = table(connection, EVALUATED_WHOLE)
            assert kind != "later" or whole < len(RULES)
            [(moves,)] = table(connection, "select count(*) from segment.audience_changes")
        assert moves > 50


def test_an_audience_that_names_a_changed_one_is_evaluated_again(database: str) -> None:
    with psycopg.connect(database) as connection:
        history = History(database, 5)
        define(connection, "inner", {"min_total_orders": 1})
        define(connection, "outer", {"$not": {"$audience": "inner"}})
        build(database, as_of=history.go_on(), exclude="test_type:data")
        before = table(connection, MEMBERS)
        define(connection, "inner", {"min_total_orders": 10000})
        build(database, select="audiences models/segment", command="run")
        after = table(connection, MEMBERS)
        assert len({row for row in after if row[0] == "outer"}) > len(
            {row for row in before if row[0] == "outer"}
        )
        reasons = table(
            connection,
            "select distinct reason from segment.audience_changes"
            " inner join segment.audiences using (audience_id)"
            " where audience_key = 'outer' and changed_at = last_built_at",
        )
        assert reasons == {("definition",)}
