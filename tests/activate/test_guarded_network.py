"""Webhooks cannot be led to internal addresses."""

import asyncio
import socket
from typing import Any

import httpcore
import pytest

from dagster_project.destinations.guarded_network import (
    ForbiddenAddressError,
    GuardedNetwork,
    is_internal,
)
from dagster_project.destinations.webhook import Webhook
from dagster_project.destinations.webhook_signature import SecretError, read_secrets
from tests.activate.conftest import Person, Tables
from tests.activate.receiver import SECRET, Receiver


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_an_internal_address_is_known_for_one(address: str) -> None:
    assert is_internal(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111"])
def test_an_address_of_the_internet_is_none(address: str) -> None:
    assert not is_internal(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"])
def test_a_delivery_to_an_internal_host_is_refused(
    tables: Tables, receiver: Receiver, host: str
) -> None:
    tables.put("vip", [Person("ada@example.com")])
    url = f"http://{host}:{receiver.port}/"
    destination = Webhook("crm", url, read_secrets(SECRET, "CRM_SECRET"))
    delivered = tables.deliver(destination)
    assert delivered.rows == 0
    assert receiver.requests == []
    assert "internal address" in str(delivered.warning) or "resolved" in str(delivered.warning)


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_judged(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    """A name that answers with another address the second time gains nothing."""
    answers = ["93.184.215.14", "127.0.0.1"]
    connected: list[str] = []

    def resolve(host: Any, port: Any, *_rest: Any, **_named: Any) -> list[Any]:
        address = answers.pop(0) if host == "rebinding.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async def connect(_self: Any, host: str, port: int, **_named: Any) -> Any:
        connected.append(host)
        raise httpcore.ConnectError("not in a test")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    network = GuardedNetwork(allows_internal=False)
    with pytest.raises(httpcore.ConnectError, match="not in a test"):
        asyncio.run(network.connect_tcp("rebinding.example", 443))
    assert connected == ["93.184.215.14"]
    with pytest.raises(ForbiddenAddressError, match="CDP_PRIVATE_WEBHOOKS"):
        asyncio.run(network.connect_tcp("rebinding.example", 443))
    assert connected == ["93.184.215.14"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "is empty"), ("whsec_not base64", "is not base64"), ("whsec_c2hvcnQ=", "has 5 bytes")],
)
def test_a_secret_that_cannot_sign_is_refused_without_showing_it(text: str, reason: str) -> None:
    with pytest.raises(SecretError, match=f"CRM_SECRET {reason}") as caught:
        read_secrets(text, "CRM_SECRET")
    assert "openssl rand" in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)
