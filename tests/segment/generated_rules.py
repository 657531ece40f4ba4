"""Random rules, profiles and events, for hypothesis. The domains are small, so that rules match."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.segment.evaluator import Person
from tests.segment.people import person

AS_OF = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
NUMBERS = [-1, 0, 1, 2.5, 30, 100, 100.01]
TEXTS = ["", "gold", "Gold", "it's", '"', "a%_\\b", "Ünïcode €", "golden", "5"]
EVENT_NAMES = ["Product Viewed", "Order Completed", 'it\'s "odd"']
KEYS = ["plan", "tier", "tags", "a b", "quote'\""]

numbers = st.sampled_from(NUMBERS)
texts = st.sampled_from(TEXTS)
day_counts = st.sampled_from([1, 2, 7, 30])
# On and around the edges of the windows: whole days in UTC, and whole days before AS_OF.
instants = st.builds(
    lambda days, edge, micro: (
        (AS_OF.replace(hour=0, minute=0) if edge else AS_OF)
        - timedelta(days=days)
        + timedelta(microseconds=micro)
    ),
    st.sampled_from([0, 1, 6, 7, 29, 30]),
    st.booleans(),
    st.sampled_from([-1, 0, 1]),
).map(lambda instant: min(instant, AS_OF))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=5,
)
objects = st.dictionaries(st.sampled_from(KEYS), documents, max_size=4)


def _optional(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.one_of(st.none(), values)


events = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(EVENT_NAMES),
        "properties": objects,
        "context": objects,
        "occurred_at": instants,
    }
)
PEOPLE = 40


def people() -> SearchStrategy[list[Person]]:
    attributes = st.fixed_dictionaries(
        {
            "email": _optional(texts),
            "total_spend": _optional(numbers),
            "total_orders": _optional(numbers),
            "last_event_at": _optional(instants),
            "first_seen_at": _optional(instants),
            "traits": objects,
        }
    )
    one = st.tuples(attributes, st.lists(events, max_size=6))
    return st.lists(one, min_size=PEOPLE, max_size=PEOPLE).map(
        lambda drawn: [person(number, *each) for number, each in enumerate(drawn)]
    )


def _negatable(operators: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.one_of(operators, operators.map(lambda inner: {"$not": inner}))


def _ordered(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.dictionaries(
        st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]),
        values,
        min_size=1,
        max_size=2,
    )


def _listed(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    lists = st.lists(values, min_size=1, max_size=3)
    return st.dictionaries(st.sampled_from(["$in", "$nin"]), lists, min_size=1, max_size=1)


existence = st.booleans().map(lambda wanted: {"$exists": wanted})
regexes = st.sampled_from(
    [
        {"$regex": "^gold"},
        {"$regex": "GOLD", "$options": "i"},
        {"$regex": "[a-z]{2,3}$"},
        {"$regex": "\\w+ (€|x)"},
    ]
)
textual = st.dictionaries(
    st.sampled_from(["$contains", "$starts_with", "$ends_with"]), texts, min_size=1, max_size=2
)
number_conditions = st.one_of(
    numbers,
    st.none(),
    _negatable(_ordered(numbers)),
    _listed(st.one_of(numbers, st.none())),
    existence,
)
text_conditions = st.one_of(
    texts, _negatable(st.one_of(_ordered(texts), textual, regexes)), _listed(texts), existence
)
instant_texts = instants.map(lambda instant: instant.isoformat())
instant_conditions = st.one_of(
    _ordered(instant_texts),
    st.dictionaries(st.sampled_from(["$before", "$after"]), instant_texts, min_size=1),
    day_counts.map(lambda days: {"$within_days": days}),
    day_counts.map(lambda days: {"$not_within_days": days}),
    existence,
)
plain_objects: SearchStrategy[Any] = st.one_of(
    st.lists(scalars, max_size=2), st.just({"tier": 1}), st.just({})
)
json_operators = st.one_of(
    _ordered(st.one_of(numbers, texts)),
    _listed(st.one_of(scalars, plain_objects)),
    st.lists(scalars, min_size=1, max_size=2).map(lambda items: {"$all": items}),
    st.sampled_from([0, 1, 2, {"$gt": 1}]).map(lambda size: {"$size": size}),
    textual,
    regexes,
    existence,
)
item_conditions = st.recursive(
    st.dictionaries(
        st.sampled_from([*KEYS, "tags.tier"]),
        st.one_of(scalars, json_operators),
        min_size=1,
        max_size=2,
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map(lambda rules: {"$or": rules}),
        inner.map(lambda rule: {"$nor": [rule]}),
    ),
    max_leaves=2,
)
json_conditions = st.one_of(
    scalars,
    plain_objects,
    _negatable(json_operators),
    st.one_of(item_conditions, json_operators).map(lambda inner: {"$elemMatch": inner}),
)


def _paths(column: str) -> SearchStrategy[str]:
    keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=2)
    return keys.map(lambda names: ".".join([column, *names]))


event_rules = st.one_of(
    st.dictionaries(_paths("properties"), json_conditions, min_size=1, max_size=1),
    st.dictionaries(_paths("context"), json_conditions, min_size=1, max_size=1),
    instant_conditions.map(lambda condition: {"occurred_at": condition}),
)
what_happened = st.fixed_dictionaries(
    {"name": st.sampled_from(EVENT_NAMES)},
    optional={"where": event_rules, "within_days": day_counts},
)
aggregates = st.dictionaries(_paths("properties"), number_conditions, min_size=1, max_size=1)
behaviour = st.builds(
    lambda event, counted: {**event, **counted},
    what_happened,
    st.fixed_dictionaries(
        {},
        optional={
            "count": number_conditions,
            "sum": aggregates,
            "min": aggregates,
            "max": aggregates,
        },
    ),
).map(lambda event: {"$event": event})
sequences = st.fixed_dictionaries(
    {"steps": st.lists(what_happened, min_size=2, max_size=3)},
    optional={"span_days": day_counts, "within_days": day_counts},
).map(lambda sequence: {"$sequence": sequence})
buckets = st.sampled_from([(0, 50), (50, 100), (12.5, 80), (0, 0.01)]).map(
    lambda share: {"$bucket": {"split": "it's", "from": share[0], "to": share[1]}}
)
conditions = st.one_of(
    number_conditions.map(lambda each: {"total_spend": each}),
    number_conditions.map(lambda each: {"total_orders": each}),
    text_conditions.map(lambda each: {"email": each}),
    instant_conditions.map(lambda each: {"last_event_at": each}),
    instant_conditions.map(lambda each: {"first_seen_at": each}),
    st.dictionaries(_paths("traits"), json_conditions, min_size=1, max_size=2),
    numbers.map(lambda bound: {"min_total_spend": bound}),
    numbers.map(lambda bound: {"max_total_orders": bound}),
    day_counts.map(lambda days: {"days_since_last_event": days}),
    behaviour,
    sequences,
    buckets,
    st.sampled_from(["spenders", "viewers"]).map(lambda key: {"$audience": key}),
)
REFERENCED = {
    "spenders": {"min_total_spend": 30},
    "viewers": {"$event": {"name": "Product Viewed"}, "$not": {"$audience": "spenders"}},
}


def rules() -> SearchStrategy[Any]:
    return st.recursive(
        conditions,
        lambda inner: st.one_of(
            st.tuples(
                st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)
            ).map(lambda drawn: {drawn[0]: drawn[1]}),
            inner.map(lambda rule: {"$not": rule}),
            st.tuples(inner, inner).map(lambda pair: {**pair[0], **pair[1]}),
        ),
        max_leaves=4,
    )
