"""A receiver of webhooks for tests: verifies each message with the reference library."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook as Verifier

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwQmZ1a2b3"  # noqa: S105 - only the tests know it

# What to do with a request: a status, a status with headers, or something rougher.
Reply = int | tuple[int, dict[str, str]] | Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Received:
    """A verified request."""

    message_id: str
    message: dict[str, Any]
    size: int
    headers: dict[str, str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.message["data"]["rows"]
        return found


@dataclass
class Receiver:
    """Answers with the next of `replies`, then with `default`; keeps what it was sent."""

    replies: list[Reply] = field(default_factory=list)
    default: Reply = 200
    secret: str = SECRET
    requests: list[Received] = field(default_factory=list)
    accepted: list[Received] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def holdings(self) -> dict[str, dict[str, Any]]:
        """Who is a member by what was answered 200: the row by profile_id, each id once."""
        members: dict[str, dict[str, Any]] = {}
        seen = set()
        for received in self.accepted:
            if received.message_id in seen:
                continue
            seen.add(received.message_id)
            for row in received.rows:
                if row["change"] == "exited":
                    members.pop(row["profile_id"], None)
                else:
                    members[row["profile_id"]] = row["row"]
        return members

    def changes(self) -> list[tuple[str, str]]:
        """Change and e-mail of every accepted row, in order."""
        return [
            (row["change"], row["row"].get("email")) for each in self.accepted for row in each.rows
        ]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        receiver = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                message = Verifier(receiver.secret).verify(body, headers)
                received = Received(headers["webhook-id"], message, len(body), headers)
                with lock:
                    receiver.requests.append(received)
                    reply = receiver.replies.pop(0) if receiver.replies else receiver.default
                if callable(reply):
                    reply(self)
                    return
                status, more = reply if isinstance(reply, tuple) else (reply, {})
                if status < 300:
                    with lock:
                        receiver.accepted.append(received)
                self.answer(status, more)

            def answer(self, status: int, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                content = json.dumps({"said": status}).encode()
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing on the terminal."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A sender that has gone away is part of some tests."""

        with Server(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def hang(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Takes the request and says nothing for so long."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return reply


def close(handler: BaseHTTPRequestHandler) -> None:
    """Takes the request and hangs up."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
