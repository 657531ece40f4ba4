"""Connections that cannot be led to where the operator's own machines are.

The host is resolved once, every address is judged, and the connection goes to an address that was
judged: a name that answers differently the second time gains nothing. The certificate is still
checked against the name.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable

import httpcore

# Shared address space of carriers, which `is_private` leaves out, and NAT64, which hides others.
ALSO_INTERNAL = tuple(
    ipaddress.ip_network(each) for each in ("100.64.0.0/10", "64:ff9b::/96", "64:ff9b:1::/48")
)


class ForbiddenAddressError(httpcore.ConnectError):
    """A host resolves to an address that must not be reached from here."""


def is_internal(address: str) -> bool:
    """Whether an IP address is private, link-local, loopback or otherwise not of the internet."""
    judged = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(judged, ipaddress.IPv6Address):
        inner = judged.ipv4_mapped or judged.sixtofour or (judged.teredo or (None, None))[1]
        if inner is not None and is_internal(str(inner)):
            return True
    return (
        not judged.is_global
        or judged.is_multicast
        or judged.is_reserved
        or any(judged in network for network in ALSO_INTERNAL if network.version == judged.version)
    )


class GuardedNetwork(httpcore.AnyIOBackend):
    """Opens TCP connections, to internal addresses only where `allows_internal`."""

    def __init__(self, *, allows_internal: bool) -> None:
        self._allows_internal = allows_internal

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _resolve(host, port, timeout)
        if not self._allows_internal:
            internal = [address for address in addresses if is_internal(address)]
            if internal:
                raise ForbiddenAddressError(
                    f"{host} is at {internal[0]}, an internal address; set CDP_PRIVATE_WEBHOOKS to "
                    "true if webhooks may go there."
                )
        return await super().connect_tcp(
            addresses[0],
            port,
            timeout=timeout,
            local_address=local_address,
            socket_options=socket_options,
        )


async def _resolve(host: str, port: int, seconds: float | None) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout(f"{host} could not be resolved in time.") from None
    except OSError as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from None
    return list(dict.fromkeys(str(address[0]) for *_rest, address in found))
