"""What the language refuses, with the path of the mistake, and the edges that it pins down."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cdp.audience_rules import compile_audiences
from tests.segment.people import members, person, save

AS_OF = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
NOW = "timestamptz '2026-03-10T15:30:00Z'"


def problems(definition: str, **others: str) -> list[tuple[str, str]]:
    compiled = compile_audiences({"audience": definition, **others}, NOW)["audience"]
    assert bool(compiled.problems) == (compiled.predicate == "false")
    return [(problem.path, problem.message) for problem in compiled.problems]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({}, ""),
        ({"$and": []}, "$and"),
        ({"$or": []}, "$or"),
        ({"$or": [{}]}, "$or[0]"),
        ({"$nor": {"total_spend": 1}}, "$nor"),
        ({"$not": {}}, "$not"),
        ({"spend": 1}, "spend"),
        ({"profile_id": "x"}, "profile_id"),
        ({"total_spend; drop table x": 1}, "total_spend; drop table x"),
        ({"total_spend.amount": 1}, "total_spend.amount"),
        ({"traits..plan": 1}, "traits..plan"),
        ({"$where": "1 = 1"}, "$where"),
        ({"total_spend": {"$like": 1}}, "total_spend.$like"),
        ({"total_spend": {"$gte": "100"}}, "total_spend.$gte"),
        ({"total_spend": {"$gte": True}}, "total_spend.$gte"),
        ({"total_spend": {"$gte": None}}, "total_spend.$gte"),
        ({"total_spend": {"$gte": 1, "other": 2}}, "total_spend.other"),
        ({"total_spend": {"other": 2, "$gte": 1}}, "total_spend"),
        ({"total_spend": {"$within_days": 3}}, "total_spend.$within_days"),
        ({"email": {"$gt": 5}}, "email.$gt"),
        ({"email": {"$regex": "("}}, "email.$regex"),
        ({"email": {"$regex": "(a+)+\\1"}}, "email.$regex"),
        ({"email": {"$regex": "(a{99}){99}"}}, "email.$regex"),
        ({"email": {"$regex": "a", "$options": "x"}}, "email.$regex"),
        ({"email": {"$options": "i"}}, "email.$options"),
        ({"email": {"$in": []}}, "email.$in"),
        ({"email": {"$in": "gold"}}, "email.$in"),
        ({"email": {"$all": ["a"]}}, "email.$all"),
        ({"email": {"$exists": 1}}, "email.$exists"),
        ({"email": "nul \x00"}, "email"),
        ({"traits.plan": {"$elemMatch": {}}}, "traits.plan.$elemMatch"),
        ({"traits.plan": {"$eq": {"$gt": 1}}}, "traits.plan.$eq"),
        ({"last_event_at": {"$within_days": 0}}, "last_event_at.$within_days"),
        ({"last_event_at": {"$within_days": 1.5}}, "last_event_at.$within_days"),
        ({"last_event_at": {"$before": "2026-02-30"}}, "last_event_at.$before"),
        ({"last_event_at": {"$before": "yesterday"}}, "last_event_at.$before"),
        ({"days_since_last_event": 0}, "days_since_last_event"),
        ({"days_since_last_event": "30"}, "days_since_last_event"),
        ({"min_email": "a"}, "min_email"),
        ({"min_total_spend": "5"}, "min_total_spend"),
        ({"$event": {"where": {"properties.a": 1}}}, "$event"),
        ({"$event": {"name": "A", "times": 3}}, "$event.times"),
        ({"$event": {"name": "A", "where": {"total_spend": 1}}}, "$event.where.total_spend"),
        ({"$event": {"name": "A", "where": {"$audience": "b"}}}, "$event.where.$audience"),
        ({"$event": {"name": "A", "sum": {"occurred_at": 1}}}, "$event.sum.occurred_at"),
        ({"$event": {"name": "A", "count": {"$gte": "3"}}}, "$event.count.$gte"),
        ({"$sequence": {"steps": [{"name": "A"}]}}, "$sequence"),
        ({"$sequence": {"steps": [{"name": "A"}, {}]}}, "$sequence.steps[1]"),
        ({"$sequence": {"steps": [{"name": "A"}] * 2, "span_days": 0}}, "$sequence.span_days"),
        ({"$sequence": {"steps": [{"name": "A"}] * 2, "days": 3}}, "$sequence.days"),
        ({"$audience": "nobody"}, "$audience"),
        ({"$audience": ["b"]}, "$audience"),
        ({"$bucket": {"split": "a", "from": 0}}, "$bucket"),
        ({"$bucket": {"split": "a", "from": 50, "to": 50}}, "$bucket"),
        ({"$bucket": {"split": "", "from": 0, "to": 50}}, "$bucket.split"),
    ],
    ids=json.dumps,
)
def test_a_mistake_is_refused_with_its_path(rule: Any, path: str) -> None:
    assert [found for found, _message in problems(json.dumps(rule))] == [path]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "1", "null", "{", '{"total_spend": NaN', '{"total_spend": 1} x', "[" * 5000],
)
def test_what_is_not_one_json_object_is_refused(text: str) -> None:
    assert [path for path, _message in problems(text)] == [""]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_what_only_python_takes_for_a_number_is_refused(number: str) -> None:
    assert problems('{"total_spend": ' + number + "}") == [("total_spend", "expected a number")]


def test_a_key_given_twice_is_refused_instead_of_dropping_a_condition() -> None:
    text = '{"$and": [{"total_spend": 1, "total_spend": 2}]}'
    assert [path for path, _message in problems(text)] == [""]
    assert problems('{"email": "a \\"quoted\\": text"}') == []


def test_every_mistake_of_a_definition_is_reported_at_once() -> None:
    rule = {"spend": 1, "$or": [{"total_spend": "x"}, {"email": 5}]}
    paths = [path for path, _message in problems(json.dumps(rule))]
    assert paths == ["spend", "$or[0].total_spend", "$or[1].email"]


def test_nesting_stops_at_twenty_levels() -> None:
    rule: Any = {"total_spend": 1}
    for _level in range(19):
        rule = {"$not": rule}
    assert problems(json.dumps(rule)) == []
    assert len(problems(json.dumps({"$not": {"$not": rule}}))) == 1


def test_audiences_that_refer_to_each_other_in_a_circle_are_refused() -> None:
    found = problems('{"$audience": "b"}', b='{"$not": {"$audience": "audience"}}')
    assert found == [("$audience(b).$not.$audience", "a cycle: audience -> b -> audience")]


def test_an_audience_that_refers_to_a_wrong_one_is_wrong_too() -> None:
    assert problems('{"$audience": "b"}', b='{"spend": 1}') == [
        ("$audience(b).spend", "unknown attribute or operator")
    ]


def test_within_days_counts_whole_utc_days_including_today(rule_tables: str) -> None:
    midnight = AS_OF.replace(hour=0, minute=0)
    people = [
        person(1, {"last_event_at": midnight - timedelta(days=6)}),
        person(2, {"last_event_at": midnight - timedelta(days=6, microseconds=1)}),
        person(3, {"last_event_at": None}),
    ]
    rules = {
        "within": '{"last_event_at": {"$within_days": 7}}',
        "not_within": '{"last_event_at": {"$not_within_days": 7}}',
    }
    with psycopg.connect(rule_tables) as connection:
        save(connection, people)
        connection.execute("set time zone 'America/New_York'")
        found = members(connection, rules, AS_OF)
    assert found["within"] == {people[0].profile_id}
    assert found["not_within"] == {people[1].profile_id, people[2].profile_id}


def test_days_since_last_event_counts_back_from_the_instant(rule_tables: str) -> None:
    people = [
        person(1, {"last_event_at": AS_OF - timedelta(hours=720)}),
        person(2, {"last_event_at": AS_OF - timedelta(hours=720, microseconds=1)}),
    ]
    with psycopg.connect(rule_tables) as connection:
        save(connection, people)
        # New York put its clocks forward two days before AS_OF; hours are hours all the same.
        connection.execute("set time zone 'America/New_York'")
        found = members(connection, {"recent": '{"days_since_last_event": 30}'}, AS_OF)
    assert found["recent"] == {people[0].profile_id}


def test_fewer_than_includes_who_never_did(rule_tables: str) -> None:
    viewed = {"event_type": "Product Viewed", "occurred_at": AS_OF}
    people = [person(1), person(2, events=[viewed]), person(3, events=[viewed, viewed])]
    rules = {
        "fewer": '{"$event": {"name": "Product Viewed", "count": {"$lt": 2}}}',
        "never": '{"$event": {"name": "Product Viewed", "count": 0}}',
        "spent_nothing": '{"$event": {"name": "Product Viewed", "sum": {"properties.price": 0}}}',
    }
    with psycopg.connect(rule_tables) as connection:
        save(connection, people)
        found = members(connection, rules, AS_OF)
    assert found["fewer"] == {people[0].profile_id, people[1].profile_id}
    assert found["never"] == {people[0].profile_id}
    assert found["spent_nothing"] == {each.profile_id for each in people}


def test_a_step_of_a_sequence_comes_strictly_after_the_one_before(rule_tables: str) -> None:
    def did(name: str, hours: float) -> dict[str, Any]:
        return {"event_type": name, "occurred_at": AS_OF - timedelta(hours=hours)}

    people = [
        person(1, events=[did("A", 30), did("B", 6)]),
        person(2, events=[did("A", 6), did("B", 6)]),
        person(3, events=[did("B", 30), did("A", 6)]),
        person(4, events=[did("A", 30.01), did("B", 6)]),
        person(5, events=[did("A", 90), did("A", 20), did("B", 10)]),
    ]
    rule = {"$sequence": {"steps": [{"name": "A"}, {"name": "B"}], "span_days": 1}}
    with psycopg.connect(rule_tables) as connection:
        save(connection, people)
        found = members(connection, {"quick": json.dumps(rule)}, AS_OF)
    assert found["quick"] == {people[0].profile_id, people[4].profile_id}


def test_buckets_divide_all_profiles_and_splits_are_independent(rule_tables: str) -> None:
    people = [person(number) for number in range(400)]
    rules = {
        f"{split}_{start}": json.dumps(
            {"$bucket": {"split": split, "from": start, "to": start + 25}}
        )
        for split in ("one", "two")
        for start in (0, 25, 50, 75)
    }
    with psycopg.connect(rule_tables) as connection:
        save(connection, people)
        found = members(connection, rules, AS_OF)
    parts = [found[f"one_{start}"] for start in (0, 25, 50, 75)]
    assert sum(map(len, parts)) == 400
    assert set.union(*parts) == {each.profile_id for each in people}
    assert all(len(part) > 60 for part in parts)
    assert 10 < len(found["one_0"] & found["two_0"]) < 60


def test_a_regular_expression_cannot_run_for_ever(rule_tables: str) -> None:
    people = [person(1, {"email": "a" * 5000 + "!"})]
    with psycopg.connect(rule_tables) as connection:
        save(connection, people)
        connection.execute("set local statement_timeout = '5s'")
        found = members(connection, {"slow": '{"email": {"$regex": "^(((a+)+)+)+$"}}'}, AS_OF)
    assert found["slow"] == set()
