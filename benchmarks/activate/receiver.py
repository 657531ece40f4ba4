"""The quickest receiver at hand: uvicorn in a process of its own, answering 200 to anything."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def receiving() -> Iterator[str]:
    """The address of a running receiver."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "benchmarks.activate.receiver:app"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "error", "--lifespan", "off"]
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.post(url)
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)
