"""A receiver of webhooks, for trying them: checks each signature and says what came."""

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# The specification's tolerance: older messages may have been recorded and played again.
TOLERANCE_SECONDS = 300
MAX_BODY_BYTES = 1_000_000

Verify = Callable[[str, int, bytes, str], bool]


class WebhookReceiver(ThreadingHTTPServer):
    """Listens on `host` and `port`, 0 for a free one.

    `verify` takes id, timestamp, body and the signature header. What is good is answered
    `status` and told to `on_message`, with whether its id has come before; the rest is answered
    400 or 401 with the reason.
    """

    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        *,
        verify: Verify,
        on_message: Callable[[dict[str, Any], bool], None],
        status: int = 200,
    ) -> None:
        super().__init__((host, port), _Handler)
        self.verify = verify
        self.on_message = on_message
        self.status = status
        self.seen: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    server: WebhookReceiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(400, f"content-length is {length!r}; give a body of at most 1 MB.")
            return
        body = self.rfile.read(int(length))
        problem = self._problem(body)
        if problem:
            self._answer(401, problem)
            return
        try:
            message = json.loads(body)
        except ValueError:
            self._answer(400, "The body is not JSON.")
            return
        message_id = self.headers["webhook-id"]
        is_repeated = message_id in self.server.seen
        if self.server.status < 300:
            self.server.seen.add(message_id)
        self.server.on_message(message, is_repeated)
        self._answer(self.server.status, "")

    def _problem(self, body: bytes) -> str:
        timestamp = self.headers.get("webhook-timestamp", "")
        if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
            return f"webhook-timestamp is {timestamp!r}, not within {TOLERANCE_SECONDS} s of now."
        signature = self.headers.get("webhook-signature", "")
        message_id = self.headers.get("webhook-id", "")
        if not self.server.verify(message_id, int(timestamp), body, signature):
            return "webhook-signature fits none of the secrets."
        return ""

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the command says what came."""
