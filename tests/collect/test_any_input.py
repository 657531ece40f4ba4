"""Whatever is sent to whatever address: one good answer, and no lost event."""

import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from ingest.app import create_app, serves
from ingest.openapi import openapi_document
from ingest.rejection import RejectionError
from ingest.salvage import split_batch
from ingest.wire import CALLS
from tests.collect.service import Service

UNHURRIED = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

any_text = st.text(st.characters(), max_size=30)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)
event_names = st.sampled_from(
    ["type", "event", "messageId", "userId", "anonymousId", "previousId", "groupId", "timestamp",
     "originalTimestamp", "sentAt", "properties", "traits", "context", "integrations", "writeKey",
     "event_type", "user_id", "email", "occurred_at", "batch"]
)  # fmt: skip
any_event = st.dictionaries(event_names, any_json, max_size=6) | any_json
kinds = st.sampled_from(["identify", "track", "page", "screen", "group", "alias"])
likely_event = st.builds(lambda event, kind: event | {"type": kind}, st.dictionaries(
    event_names, any_json, max_size=5), kinds)  # fmt: skip
any_bytes = st.binary(max_size=200)


def as_bytes(value: Any) -> bytes:
    """JSON as a careless client writes it: NaN and lone surrogates included."""
    return json.dumps(value).encode()


def counts(service: Service) -> tuple[int, int]:
    return service.row(
        "select (select count(*) from raw.events), (select count(*) from raw.rejected_events)"
    )


def assert_is_answered(reply: httpx.Response) -> None:
    assert reply.headers["Content-Type"] == "application/json"
    answer = reply.json()
    assert reply.status_code in (200, 400, 413)
    if reply.status_code == 200:
        assert answer["success"] is True
    else:
        assert set(answer) == {"code", "message"}


@UNHURRIED
@given(st.sampled_from([*CALLS, "/api/s/track", "/api/s/x"]), any_event.map(as_bytes) | any_bytes)
def test_any_body_at_any_address_is_answered_and_lands_or_is_quarantined(
    service: Service, path: str, body: bytes
) -> None:
    before = sum(counts(service))
    reply = service.post(path, content=body)

    assert_is_answered(reply)
    answer = reply.json()
    arrived = answer["accepted"] + len(answer["rejected"]) if "accepted" in answer else 1
    assert sum(counts(service)) == before + arrived


@UNHURRIED
@given(st.lists(any_event.map(as_bytes) | likely_event.map(as_bytes), max_size=5))
def test_good_events_land_whatever_their_neighbours_are(
    service: Service, others: list[bytes]
) -> None:
    good = b'{"type":"track","event":"Good","messageId":"good"}'
    batch = [good, *[item for other in others for item in (other, good)]]
    before = counts(service)
    reply = service.post("/v1/batch", content=b'{"batch":[' + b",".join(batch) + b"]}")

    assert reply.status_code == 200
    answer = reply.json()
    rejected = [part["index"] for part in answer["rejected"]]
    assert answer["accepted"] + len(rejected) == len(batch)
    assert all(batch[index] is not good for index in rejected)
    after = counts(service)
    assert (after[0] - before[0], after[1] - before[1]) == (answer["accepted"], len(rejected))


@UNHURRIED
@given(st.lists(any_event.map(as_bytes), max_size=5), st.sampled_from(["", " ", "\n\t"]))
def test_a_batch_is_cut_between_its_items(items: list[bytes], space: str) -> None:
    gap = space.encode()
    body = b'{"a":[{"batch":[1]}],"batch"%b:%b[%b%b]%b,"z":1}' % (
        gap, gap, gap, (gap + b"," + gap).join(items), gap,
    )  # fmt: skip
    rest, pieces = split_batch(body)

    assert pieces == items
    assert json.loads(rest) == {"a": [{"batch": [1]}], "batch": [], "z": 1}


def test_a_text_that_is_never_closed_is_looked_at_once() -> None:
    # Looked at from each quote again, this would take days; the suite's limit is minutes.
    with pytest.raises(RejectionError):
        split_batch(b'{"batch":["' + b'\\"' * 5_000_000)


def test_the_published_description_lists_exactly_the_routes(service: Service) -> None:
    published = httpx.get(f"{service.url}/openapi/ingest.json").json()
    assert published == openapi_document()
    routes = {route.path.replace("{kind:path}", "{kind}") for route in create_app_routes()}
    assert set(published["paths"]) == routes - {"/sourceConfig/", "/openapi/ingest.json"}


def create_app_routes() -> list[Any]:
    from cdp.settings import Settings  # noqa: PLC0415 - only here

    return list(create_app(Settings(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")).routes)


def test_a_dispatcher_knows_which_paths_belong_to_the_write_side() -> None:
    shared = {"/health", "/ready", "/metrics"}
    for path in set(openapi_document()["paths"]) - shared:
        assert serves(path.replace("{kind}", "track").replace("{write_key}", "k")), path
    for path in (*shared, "/", "/profiles", "/audiences", "/decide"):
        assert not serves(path)


# Not schemathesis' own parametrize: its tests share one id, and tests that run in parallel are told
# apart by their ids.
OPERATIONS = [
    each.ok()
    for each in schemathesis.openapi.from_dict(openapi_document()).get_all_operations()
    if isinstance(each, Ok)
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_route_answers_as_described(
    operation: Any, data: st.DataObject, service: Service
) -> None:
    case = data.draw(operation.as_strategy())
    case.call_and_validate(
        base_url=service.url,
        excluded_checks=[
            # What a JSON schema allows may still be refused: a track call without a name, an id
            # that is too long. And bodies are parsed whatever their content type says.
            schemathesis.checks.positive_data_acceptance,
            schemathesis.checks.negative_data_rejection,
            schemathesis.checks.ignored_auth,
        ],
    )
