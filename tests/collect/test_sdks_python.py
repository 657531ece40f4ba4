"""The real Python SDKs, unmodified, against the real service with write keys."""

from collections.abc import Callable
from typing import Any

import pytest
import rudderstack.analytics.client
import segment.analytics.client

from tests.collect.service import Service, create_source, running

Client = Callable[..., Any]

CLIENTS: list[tuple[str, Client, dict[str, Any]]] = [
    ("segment", segment.analytics.client.Client, {}),
    ("segment gzip", segment.analytics.client.Client, {"gzip": True}),
    ("rudderstack", rudderstack.analytics.client.Client, {}),
    ("rudderstack plain", rudderstack.analytics.client.Client, {"gzip": False}),
]


@pytest.mark.parametrize(("name", "client_class", "options"), CLIENTS)
def test_every_call_of_the_sdk_lands_once_under_its_source(
    database: str, name: str, client_class: Client, options: dict[str, Any]
) -> None:
    key = create_source(database, "backend")
    failures: list[Any] = []
    with running(database) as service:
        client = client_class(
            key,
            host=service.url,
            on_error=lambda error, batch: failures.append((error, batch)),
            **options,
        )
        client.identify("u1", {"email": "Ada@Example.com", "plan": "gold"})
        client.track("u1", "Order Completed", {"order_id": "o1", "total": 19.9})
        client.page("u1", None, "Home", {"path": "/"})
        client.screen("u1", None, "Start")
        client.group("u1", "g1", {"name": "Acme"})
        client.alias("anonymous-1", "u1")
        for number in range(250):
            client.track(anonymous_id=f"a{number}", event="Product Viewed")
        client.shutdown()

        assert failures == []
        assert service.row("select count(*), count(distinct message_id) from raw.events") == (
            256,
            256,
        )
        assert service.rows("select distinct source from raw.events") == [("backend",)]
        assert service.rows(
            "select type, event, user_id, email, previous_id from raw.events"
            " where user_id is not null order by type"
        ) == [
            ("alias", None, "u1", None, "anonymous-1"),
            ("group", None, "u1", None, None),
            ("identify", None, "u1", "ada@example.com", None),
            ("page", None, "u1", None, None),
            ("screen", None, "u1", None, None),
            ("track", "Order Completed", "u1", None, None),
        ]
        assert service.row("select count(*) from raw.rejected_events") == (0,)


@pytest.mark.parametrize("client_class", [client for _, client, _ in CLIENTS[::2]])
def test_events_that_an_sdk_sends_while_the_service_restarts_arrive_once(
    database: str, client_class: Client
) -> None:
    failures: list[Any] = []
    with running(database) as service:
        port = int(service.url.rpartition(":")[2])
    client = client_class("any", host=service.url, on_error=lambda *seen: failures.append(seen))
    client.track("u1", "Sent While Away")
    with running(database, test_port=port) as service:
        client.shutdown()

        assert failures == []
        assert service.row("select count(distinct message_id) from raw.events") == (1,)


def test_a_wrong_key_is_told_to_the_sdk(database: str) -> None:
    create_source(database, "backend")
    failures: list[Any] = []
    with running(database) as service:
        client = segment.analytics.client.Client(
            "wrong", host=service.url, on_error=lambda error, _batch: failures.append(error)
        )
        client.track("u1", "Never Lands")
        client.shutdown()

        assert "invalid_write_key" in str(failures[0])
        assert service.row("select count(*) from raw.events") == (0,)


def test_a_nan_in_one_event_does_not_cost_the_others_of_its_batch(service: Service) -> None:
    client = segment.analytics.client.Client("any", host=service.url)
    for value in (1.5, float("nan"), 2.5):
        client.track("u1", "Measured", {"value": value})
    client.shutdown()

    assert service.row("select count(*) from raw.events") == (2,)
    assert service.row("select code from raw.rejected_events") == ("malformed_json",)
