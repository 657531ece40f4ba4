"""Bulk history: a file of events, sent through the service like everything else.

Safe to repeat: every event has a stable message id, and an id that has landed counts once. An
interrupted load goes on where it was when it is given a place for its checkpoint.
"""

import gzip
import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import httpx
import msgspec
import stamina

from cdp.errors import UserError
from cdp.json_tokens import TOKENS

PATH = "/v1/import"
TIME_FIELDS = ("timestamp", "originalTimestamp")
REQUESTS_IN_FLIGHT = 4
BATCH_EVENTS = 250
BATCH_BYTES = 400_000  # below the service's default limit of 500 KB
TIMEOUT_SECONDS = 60
RETRIES_SECONDS = 120
REASONS_KEPT = 20
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Progress = Callable[[int, int], None]

_decode = msgspec.json.Decoder(float_hook=Decimal).decode  # amounts stay as they were written
_encode = msgspec.json.Encoder(decimal_format="number").encode


class LoadError(UserError):
    """The file could not be loaded; the message says what to do. What was sent has landed."""


@dataclass
class LoadResult:
    """What became of a file. `reasons` are the first rejections, as line number and message."""

    accepted: int = 0
    rejected: int = 0
    skipped: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class FileSummary:
    """What a first pass over the file finds: its lines, its identity, its last day."""

    line_count: int
    sha256: str
    last_day: date | None


@dataclass(frozen=True)
class Batch:
    """Consecutive lines, ready to send. `numbers` are their line numbers, from 1."""

    numbers: tuple[int, ...]
    body: bytes
    next_line: int


def load_file(
    path: Path,
    *,
    url: str,
    write_key: str | None = None,
    shift_to_now: bool = False,
    checkpoint_dir: Path | None = None,
    on_progress: Progress | None = None,
) -> LoadResult:
    """Send every line of an NDJSON file, gzip or not, and return what became of them.

    `shift_to_now` moves all times by the same whole number of days, so that the last day is today
    (UTC). `on_progress(done, total)` counts lines. With a `checkpoint_dir` an interrupted load of
    the same file to the same service skips what has landed. Raises LoadError.
    """
    if httpx.URL(url).scheme not in ("http", "https"):
        raise LoadError(f"{url} is no address; give one such as http://localhost:3000.")
    summary = summarise(path)
    shift = _shift(summary) if shift_to_now else timedelta()
    checkpoint = _Checkpoint(checkpoint_dir, summary, url)
    result = LoadResult(skipped=checkpoint.lines_done)
    report = on_progress or (lambda _done, _total: None)
    report(result.skipped, summary.line_count)
    auth = httpx.BasicAuth(write_key, "") if write_key else None
    batches = _batches(path, summary, shift, result.skipped)
    with (
        httpx.Client(base_url=url, auth=auth, timeout=TIMEOUT_SECONDS) as client,
        ThreadPoolExecutor(REQUESTS_IN_FLIGHT, thread_name_prefix="load") as pool,
    ):
        in_flight: deque[tuple[Batch, Future[dict[str, Any]]]] = deque()
        try:
            for batch in batches:
                in_flight.append((batch, pool.submit(_send, client, batch)))
                if len(in_flight) >= REQUESTS_IN_FLIGHT:
                    _take_answer(in_flight, result, checkpoint, report, summary)
            while in_flight:
                _take_answer(in_flight, result, checkpoint, report, summary)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    checkpoint.remove()
    return result


def summarise(path: Path) -> FileSummary:
    """Read the file once: count its lines, hash it, find the last day in it.

    Raises LoadError where it cannot be read.
    """
    count = 0
    digest = hashlib.sha256()
    latest: datetime | None = None
    try:
        with _open(path) as lines:
            for line in lines:
                digest.update(line)
                count += 1
                happened = _latest_time(line)
                if happened and (latest is None or happened > latest):
                    latest = happened
    except (OSError, EOFError, zlib.error) as error:
        raise LoadError(f"{path} cannot be read: {error}.") from None
    return FileSummary(count, digest.hexdigest(), latest.date() if latest else None)


def _shift(summary: FileSummary) -> timedelta:
    if summary.last_day is None:
        return timedelta()
    return datetime.now(UTC).date() - summary.last_day


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        is_gzip = file.read(2) == GZIP_MAGIC
    if is_gzip:
        return gzip.open(path, "rb")  # type: ignore[return-value]  # reads like any binary file
    return path.open("rb")


def _latest_time(line: bytes) -> datetime | None:
    event = _parse(line)
    times = [_instant(event.get(name)) for name in TIME_FIELDS] if event else []
    return max((time for time in times if time), default=None)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = _decode(line.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _batches(
    path: Path, summary: FileSummary, shift: timedelta, lines_done: int
) -> Iterator[Batch]:
    numbers: list[int] = []
    items: list[bytes] = []
    size = 0
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if number <= lines_done or not line.strip():
                continue
            event = _parse(line)
            if event is None:
                # Not JSON: alone in its batch it can spoil no other; the service keeps it. What
                # comes before it goes first, so that the lines done are always the first ones.
                if items:
                    yield _batch(numbers, items)
                    numbers, items, size = [], [], 0
                yield _batch([number], [_as_one_item(line.strip())])
                continue
            item = _prepared(event, number, summary, shift)
            if items and (len(items) >= BATCH_EVENTS or size + len(item) > BATCH_BYTES):
                yield _batch(numbers, items)
                numbers, items, size = [], [], 0
            numbers.append(number)
            items.append(item)
            size += len(item)
    if items:
        yield _batch(numbers, items)


def _as_one_item(line: bytes) -> bytes:
    """A line that is not JSON, as a text where it would be several items or end its batch."""
    depth = 0
    for token in TOKENS.finditer(line):
        depth += (token.group() in b"[{") - (token.group() in b"]}")
        if depth < 0 or (depth == 0 and token.group() == b","):
            return json.dumps(line.decode(errors="backslashreplace")).encode()
    return line


def _batch(numbers: list[int], items: list[bytes]) -> Batch:
    return Batch(tuple(numbers), b'{"batch":[' + b",".join(items) + b"]}", numbers[-1])


def _prepared(event: dict[str, Any], number: int, summary: FileSummary, shift: timedelta) -> bytes:
    sent_id = event.get("messageId")
    if not sent_id or not str(sent_id).strip():
        # Equal lines may be different events, so the line number belongs to the id.
        digest = hashlib.sha256(f"{summary.sha256}:{number}".encode()).hexdigest()
        event["messageId"] = f"load-{digest[:32]}"
    if shift:
        for name in TIME_FIELDS:
            instant = _instant(event.get(name))
            if instant:
                event[name] = (instant + shift).isoformat().replace("+00:00", "Z")
    return _encode(event)


class _TryAgainError(Exception):
    """The service says that the same request may succeed later."""

    def __init__(self, reason: str, after_seconds: float) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


def _pause(error: Exception) -> bool | float:
    if isinstance(error, _TryAgainError) and error.after_seconds:
        return error.after_seconds
    return isinstance(error, _TryAgainError | httpx.TransportError)


def _send(client: httpx.Client, batch: Batch) -> dict[str, Any]:
    try:
        for attempt in stamina.retry_context(
            on=_pause, attempts=None, timeout=RETRIES_SECONDS, wait_max=5
        ):
            with attempt:
                return _post(client, batch)
    except (_TryAgainError, httpx.TransportError) as error:
        raise LoadError(
            f"{client.base_url} does not take events: {error}. Is the service running? "
            "Repeating the load is safe."
        ) from None
    raise AssertionError("retry_context ends by returning or raising")


def _post(client: httpx.Client, batch: Batch) -> dict[str, Any]:
    reply = client.post(PATH, content=batch.body, headers={"Content-Type": "application/json"})
    if reply.status_code in (408, 429) or reply.status_code >= 500:
        after = reply.headers.get("Retry-After", "")
        raise _TryAgainError(
            f"HTTP {reply.status_code}", float(after) if after.isdecimal() else 0.0
        )
    if reply.status_code == 401:
        raise LoadError("The service wants a write key: give --write-key, or set CDP_WRITE_KEY.")
    answer = _answer_of(reply)
    if answer is None or reply.status_code == 404:
        raise LoadError(
            f"{client.base_url} answered HTTP {reply.status_code}, and not as an ingest service "
            "does. Give the address of the service alone, such as http://localhost:3000."
        )
    if reply.status_code != 200:
        # Kept in raw.rejected_events as a whole.
        return {"accepted": 0, "refused": answer.get("message", f"HTTP {reply.status_code}")}
    return answer


def _answer_of(reply: httpx.Response) -> dict[str, Any] | None:
    try:
        answer = reply.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _take_answer(
    in_flight: deque[tuple[Batch, Future[dict[str, Any]]]],
    result: LoadResult,
    checkpoint: "_Checkpoint",
    report: Progress,
    summary: FileSummary,
) -> None:
    batch, future = in_flight.popleft()
    answer = future.result()
    result.accepted += answer["accepted"]
    if "refused" in answer:
        failures = [(number, answer["refused"]) for number in batch.numbers]
    else:
        # A broken line such as `1, 2` may read as several events: it is one line all the same.
        last = len(batch.numbers) - 1
        failures = [
            (batch.numbers[min(part["index"], last)], part["message"])
            for part in answer["rejected"]
        ]
    result.rejected += len(failures)
    result.reasons.extend(failures[: REASONS_KEPT - len(result.reasons)])
    checkpoint.save(batch.next_line)
    report(batch.next_line, summary.line_count)


class _Checkpoint:
    """How many lines of a file have landed, kept in a small file until the load is complete."""

    def __init__(self, folder: Path | None, summary: FileSummary, url: str) -> None:
        name = hashlib.sha256(f"{summary.sha256} {url}".encode()).hexdigest()[:24]
        self._file = folder / f"{name}.json" if folder else None
        self.lines_done = 0
        if self._file and self._file.exists():
            try:
                self.lines_done = int(json.loads(self._file.read_text())["lines_done"])
            except (ValueError, KeyError, TypeError):
                self.lines_done = 0

    def save(self, lines_done: int) -> None:
        self.lines_done = max(self.lines_done, lines_done)
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside = self._file.with_suffix(".tmp")
            beside.write_text(json.dumps({"lines_done": self.lines_done}))
            beside.replace(self._file)

    def remove(self) -> None:
        if self._file:
            self._file.unlink(missing_ok=True)
