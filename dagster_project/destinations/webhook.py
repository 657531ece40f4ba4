"""Audiences as signed webhooks: each change is told, retried until it is heard, and told once more
rather than not at all.

Each message is tried once per run; when it is due again is kept in PostgreSQL. Answers: 2xx is
heard; 410 disables the destination; 401 and 403 end the run, because no other message will fare
better; anything else, a redirect included, is tried again later, as often as the options say.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice

import httpcore

from dagster_project.destinations.destination import (
    Delivered,
    Delivery,
    DeliveryError,
    Message,
    Outbox,
)
from dagster_project.destinations.guarded_network import ForbiddenAddressError, GuardedNetwork
from dagster_project.destinations.webhook_messages import MAX_BODY_BYTES, body, messages
from dagster_project.destinations.webhook_signature import sign
from dagster_project.subscriptions import WebhookOptions

# Written down, sent and acknowledged together: few commits, and little to repeat after a kill.
WAVE_MESSAGES = 200
# So many failures in a row say that the receiver is down, not that a message is bad.
FAILURES_IN_A_ROW = 5
FIRST_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 6 * 3600.0
LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
# Asked to wait no longer than this, the run waits itself.
WAIT_IN_RUN_SECONDS = 3.0
SHOWN_ANSWER_BYTES = 200
GONE = 410


@dataclass(frozen=True)
class Webhook:
    """POSTs to `url`, signed with each of `secrets`."""

    name: str
    url: str
    secrets: tuple[bytes, ...]
    options: WebhookOptions = field(default_factory=WebhookOptions)
    allows_internal: bool = False
    takes_whole_audiences: bool = False

    def deliver(self, delivery: Delivery) -> Delivered:
        """Tell every change that is new, then what earlier runs could not."""
        return asyncio.run(_Run(self, delivery).run())

    def withdraw(self, audience_key: str) -> None:
        raise NotImplementedError(f"The members of {audience_key} leave one by one.")


@dataclass
class _Answer:
    """How one attempt ended; `error` is None where it was heard."""

    message: Message
    error: str | None = None
    status: int | None = None
    retry_after: float | None = None
    is_too_large: bool = False


@dataclass
class _Run:
    """The messages of one delivery: counts what came of them, and when to stop."""

    webhook: Webhook
    delivery: Delivery
    rows: int = 0
    rows_failed: int = 0
    rows_unsent: int = 0
    rows_seen: int = 0
    messages: int = 0
    failures_in_a_row: int = 0
    last_error: str | None = None
    stopped: str | None = None
    is_gone: bool = False
    next_send_at: float = 0.0
    deadline: float = 0.0

    @property
    def outbox(self) -> Outbox:
        return self.delivery.outbox

    async def run(self) -> Delivered:
        self.deadline = time.monotonic() + self.webhook.options.run_seconds
        audience = self.delivery.audience
        fresh = messages(
            audience,
            self.delivery.changes() if self.delivery.row_count else (),
            max_rows=self.webhook.options.rows_per_message,
        )
        async with httpcore.AsyncConnectionPool(
            max_connections=self.webhook.options.concurrency,
            max_keepalive_connections=self.webhook.options.concurrency,
            network_backend=GuardedNetwork(allows_internal=self.webhook.allows_internal),
        ) as pool:
            for wave in _waves(fresh):
                self.rows_seen += sum(len(message.rows) for message in wave)
                self.outbox.put(wave)
                await self._send_wave(pool, wave)
                if self.stopped:
                    break
            if not self.stopped:
                for wave in _waves(self.outbox.due()):
                    await self._send_wave(pool, wave)
                    if self.stopped:
                        break
        if self.is_gone:
            raise GoneError(
                f"{self.webhook.name} answered 410 and has been disabled. Nothing is sent until "
                f"somebody runs `cdp deliveries enable {self.webhook.name}`."
            )
        return self._delivered()

    def _delivered(self) -> Delivered:
        unsent = self.delivery.row_count - self.rows_seen + self.rows_unsent
        problems = [text for text in (self.stopped, self.last_error) if text]
        if not (self.rows_failed or unsent):
            return Delivered(self.rows, {"messages": self.messages})
        warning = (
            f"{self.rows_failed} rows have failed and {unsent} were not tried; both are kept for "
            f"the next run. {' '.join(dict.fromkeys(problems))}"
        )
        facts = {"messages": self.messages}
        return Delivered(self.rows, facts, self.rows_failed, unsent, warning)

    async def _send_wave(self, pool: httpcore.AsyncConnectionPool, wave: list[Message]) -> None:
        """Send a wave with bounded concurrency, then write down what came of it."""
        waiting = iter(wave)
        answers: list[_Answer] = []

        async def work() -> None:
            for message in waiting:
                if self._must_stop():
                    answers.append(_Answer(message, "unsent"))
                    continue
                await self._keep_pace()
                answer = await self._attempt(pool, message)
                answers.append(answer)
                await self._learn(answer)

        try:
            async with asyncio.TaskGroup() as workers:
                for _number in range(min(self.webhook.options.concurrency, len(wave))):
                    workers.create_task(work())
        finally:
            self._write_down(answers)

    def _write_down(self, answers: list[_Answer]) -> None:
        heard = [answer.message for answer in answers if answer.error is None]
        unsent = [answer.message for answer in answers if answer.error == "unsent"]
        if heard:
            self.outbox.acknowledge(heard)
            self.messages += len(heard)
            self.rows += sum(len(message.rows) for message in heard)
        if unsent:
            self.outbox.forget(unsent)
            self.rows_unsent += sum(len(message.rows) for message in unsent)
        for answer in answers:
            if answer.error not in (None, "unsent"):
                self.rows_failed += len(answer.message.rows)
                self.outbox.postpone(answer.message, str(answer.error), seconds=self._wait(answer))

    def _wait(self, answer: _Answer) -> float | None:
        """Seconds until the next attempt, or None for a message that is given up.

        Doubling from half a minute to six hours, each with jitter of a half, so that many
        messages do not come back at once.
        """
        tried = answer.message.attempts + 1
        if tried >= self.webhook.options.attempts or answer.is_too_large:
            return None
        if answer.retry_after is not None:
            return answer.retry_after + random.uniform(0, 1)  # noqa: S311 - as below
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** (tried - 1), LONGEST_WAIT_SECONDS)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret

    def _must_stop(self) -> bool:
        if self.stopped is None and time.monotonic() >= self.deadline:
            self.stopped = f"Stopped after {self.webhook.options.run_seconds:g} s."
        return self.stopped is not None

    async def _keep_pace(self) -> None:
        now = time.monotonic()
        at = max(now, self.next_send_at)
        if self.webhook.options.per_second:
            self.next_send_at = at + 1 / self.webhook.options.per_second
        if at > now:
            await asyncio.sleep(at - now)

    async def _attempt(self, pool: httpcore.AsyncConnectionPool, message: Message) -> _Answer:
        content = body(self.delivery.audience, message)
        if len(content) > MAX_BODY_BYTES:
            return _Answer(
                message,
                f"The row makes a message of {len(content):,} bytes, more than "
                f"{MAX_BODY_BYTES:,}; choose fewer columns in seeds/activations.csv.",
                is_too_large=True,
            )
        timestamp = int(time.time())
        headers: dict[bytes | str, bytes | str] = {
            "content-type": "application/json",
            "user-agent": "warehouse-cdp",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self.webhook.secrets, message.message_id, timestamp, content),
        }
        seconds = self.webhook.options.timeout_seconds
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
        try:
            async with (
                asyncio.timeout(seconds),
                pool.stream(
                    "POST",
                    self.webhook.url,
                    headers=headers,
                    content=content,
                    extensions={"timeout": timeouts},
                ) as response,
            ):
                shown = await _beginning(response)
        except ForbiddenAddressError as error:
            self.stopped = str(error)
            return _Answer(message, str(error))
        except (TimeoutError, httpcore.TimeoutException):
            return _Answer(message, f"No answer within {seconds:g} s.")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return _Answer(message, f"The connection failed: {error or type(error).__name__}")
        return _judge(message, response, shown)

    async def _learn(self, answer: _Answer) -> None:
        """Decide whether it is worth going on."""
        if answer.error is None:
            self.failures_in_a_row = 0
            return
        self.last_error = answer.error
        if answer.is_too_large:
            return
        self.failures_in_a_row += 1
        if answer.status == GONE:
            self.stopped = f"{self.webhook.name} has been disabled."
            self.is_gone = True
            self.outbox.disable_destination(answer.error)
        if answer.status in (401, 403):
            self._stop(f"{self.webhook.name} refuses the credentials.", FIRST_WAIT_SECONDS)
        elif answer.retry_after is not None:
            await self._wait_as_asked(answer.retry_after)
        elif self.failures_in_a_row >= FAILURES_IN_A_ROW:
            said = f"Stopped after {FAILURES_IN_A_ROW} failures in a row."
            self._stop(said, FIRST_WAIT_SECONDS)

    async def _wait_as_asked(self, seconds: float) -> None:
        if seconds <= WAIT_IN_RUN_SECONDS and self.failures_in_a_row < FAILURES_IN_A_ROW:
            self.next_send_at = time.monotonic() + seconds
            await asyncio.sleep(seconds)
            return
        self._stop(f"{self.webhook.name} asked to be left alone for {seconds:g} s.", seconds)

    def _stop(self, reason: str, seconds: float) -> None:
        """End the run; other audiences do not try for a while either."""
        self.stopped = reason
        self.outbox.leave_alone(seconds)


class GoneError(DeliveryError):
    """The receiver does not want any more messages."""


def _judge(message: Message, response: httpcore.Response, shown: str) -> _Answer:
    status = response.status
    if 200 <= status < 300:
        return _Answer(message)
    said = f"Answered {status}"
    if 300 <= status < 400:
        said += ", a redirect, which is not followed; correct the address"
    return _Answer(
        message,
        f"{said}{': ' + shown if shown else '.'}",
        status=status,
        retry_after=_retry_after(response),
    )


def _retry_after(response: httpcore.Response) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3), at most a day."""
    headers = {name.lower(): value for name, value in response.headers}
    text = headers.get(b"retry-after", b"").decode("ascii", "replace").strip()
    if not text:
        return None
    try:
        seconds = float(text) if text.isdigit() else _seconds_until(text)
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _seconds_until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    return (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()


async def _beginning(response: httpcore.Response) -> str:
    """The first bytes of the answer; the rest is not read, however long it is."""
    received = b""
    async for chunk in response.aiter_stream():
        received += chunk
        if len(received) >= SHOWN_ANSWER_BYTES:
            break
    return received[:SHOWN_ANSWER_BYTES].decode("utf-8", "replace").strip()


def _waves(found: Iterable[Message]) -> Iterator[list[Message]]:
    waiting = iter(found)
    for first in waiting:
        yield [first, *islice(waiting, WAVE_MESSAGES - 1)]
