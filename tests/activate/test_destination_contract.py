"""What every destination promises, whole audiences or changes: one suite, run against each."""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import psycopg
import pytest
from google.api_core.exceptions import GoogleAPIError

from dagster_project.destinations.destination import Delivery, HeldError
from dagster_project.outbox import revive
from tests.activate.conftest import Tables, emails, people, person, profile_id
from tests.activate.places import BigQueryPlace, CsvPlace, Place, WebhookPlace
from tests.activate.receiver import Receiver

KINDS = ("csv", "object_store", "webhook", "bigquery")


PLACES = [(kind, mode) for kind in KINDS for mode in ("full", "delta")]
DELTAS = [(kind, "delta") for kind in KINDS]


@pytest.fixture(params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest, receiver: Receiver, tmp_path: Path) -> Iterator[Place]:
    kind, mode = request.param
    if kind == "bigquery":
        yield BigQueryPlace(request.getfixturevalue("bigquery_tables"), mode)
        return
    if kind == "webhook":
        yield WebhookPlace(receiver, mode)
    elif kind == "csv":
        yield CsvPlace(str(tmp_path / "exports"), mode)
    else:
        address = f"memory://contract-{uuid.uuid4().hex}/exports"
        yield CsvPlace(address, mode)
        fsspec.filesystem("memory").store.clear()


def send(tables: Tables, place: Place, *, may_become_empty: bool = False) -> None:
    """One run, at a time when what waits is due."""
    with psycopg.connect(tables.database, autocommit=True) as connection:
        revive(connection)
    tables.deliver(place.destination, mode=place.mode, may_become_empty=may_become_empty)


def test_the_first_run_brings_everybody(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", people(1, 2, 3))
    send(tables, place)
    assert place.holdings() == emails(1, 2, 3)


def test_who_entered_is_there_and_who_left_is_gone(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", people(1, 2, 3))
    send(tables, place)
    tables.put_numbered("vip", people(2, 3, 4))
    send(tables, place)
    assert place.holdings() == emails(2, 3, 4)


def test_a_member_that_changed_is_told_again(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", people(1, 2))
    send(tables, place)
    tables.execute("update unify.profiles set email = 'new@example.com' where user_id = 'u2'")
    send(tables, place)
    assert place.holdings() == emails(1) | {str(profile_id(2)): "new@example.com"}


def test_who_came_back_is_there_again(tables: Tables, place: Place) -> None:
    for members in (people(1, 2), people(1), people(1, 2)):
        tables.put_numbered("vip", members)
        send(tables, place)
    assert place.holdings() == emails(1, 2)


@pytest.mark.parametrize("place", DELTAS, ids="-".join, indirect=True)
def test_an_empty_delta_does_nothing(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", people(1, 2))
    send(tables, place)
    before = place.traffic()
    send(tables, place)
    assert place.traffic() == before
    assert tables.deliveries()[-1] == ("succeeded", 0, None)


def test_a_run_that_is_repeated_changes_nothing(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", people(1, 2))
    send(tables, place)
    tables.put_numbered("vip", people(2, 3))
    send(tables, place)
    held = place.holdings()
    send(tables, place)
    assert place.holdings() == held


def test_members_of_the_same_values_are_kept_apart(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", {1: person(7), 2: person(7)})
    send(tables, place)
    assert sorted(place.holdings()) == [str(profile_id(1)), str(profile_id(2))]


def test_what_failed_arrives_with_the_next_run(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", people(1, 2, 3))
    send(tables, place)
    tables.put_numbered("vip", people(2, 3, 4, 5))
    with place.failing(), suppress(OSError, GoogleAPIError):
        send(tables, place)
    assert place.holdings() == emails(1, 2, 3)
    assert tables.deliveries()[-1][0] in ("failed", "partial")
    send(tables, place)
    assert place.holdings() == emails(2, 3, 4, 5)
    assert tables.deliveries()[-1][0] == "succeeded"


def test_what_changed_again_after_a_failure_arrives_as_it_is_now(
    tables: Tables, place: Place
) -> None:
    tables.put_numbered("vip", people(1, 2))
    send(tables, place)
    tables.put_numbered("vip", people(2, 3, 4))
    with place.failing(), suppress(OSError, GoogleAPIError):
        send(tables, place)
    tables.put_numbered("vip", people(1, 2, 3))
    send(tables, place)
    assert place.holdings() == emails(1, 2, 3)


def test_an_audience_that_suddenly_became_empty_is_left_until_somebody_confirms(
    tables: Tables, place: Place
) -> None:
    tables.put_numbered("vip", people(1, 2))
    send(tables, place)
    tables.put_numbered("vip", {})
    before = place.traffic()
    with pytest.raises(HeldError, match="cdp deliveries confirm vip"):
        send(tables, place)
    assert place.traffic() == before
    assert tables.deliveries()[-1][0] == "held"
    send(tables, place, may_become_empty=True)
    assert place.holdings() == {}
    # Empty as confirmed is no surprise any more.
    send(tables, place)
    assert place.holdings() == {}


def test_an_audience_that_was_never_delivered_may_be_empty(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", {})
    send(tables, place)
    assert place.holdings() == {}


class Cancelled(BaseException):
    """As Dagster ends a run that somebody cancels."""


def test_a_run_that_was_cancelled_is_made_good_by_the_next(
    tables: Tables, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.put_numbered("vip", people(1, 2))
    send(tables, place)
    tables.put_numbered("vip", people(2, 3))
    carry_out = type(place.destination).deliver

    def cancelled(destination: object, delivery: Delivery) -> None:
        carry_out(destination, delivery)  # type: ignore[arg-type]
        raise Cancelled

    with monkeypatch.context() as patched:
        patched.setattr(type(place.destination), "deliver", cancelled)
        with pytest.raises(Cancelled):
            send(tables, place)
    assert tables.deliveries()[-1][0] == "failed"
    send(tables, place)
    assert place.holdings() == emails(2, 3)


def test_other_columns_reach_everybody(tables: Tables, place: Place) -> None:
    tables.put_numbered("vip", people(1, 2))
    send(tables, place)
    before = place.traffic()
    tables.deliver(place.destination, mode=place.mode, columns=("profile_id", "email", "phone"))
    assert place.traffic() != before
    assert place.holdings() == emails(1, 2)
