"""`cdp load`: bulk history through the service."""

import gzip
import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdp.loader import LoadError, load_file, summarise
from tests.collect.service import Service


def write_lines(path: Path, events: list[dict[str, Any] | str]) -> Path:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["history.ndjson", "history.ndjson.gz"])
def test_every_line_of_a_file_lands_and_progress_ends_at_the_last_line(
    service: Service, tmp_path: Path, name: str
) -> None:
    file = write_lines(
        tmp_path / name, [{"type": "page", "messageId": f"m{number}"} for number in range(600)]
    )
    seen: list[tuple[int, int]] = []

    result = load_file(
        file, url=service.url, on_progress=lambda done, total: seen.append((done, total))
    )

    assert (result.accepted, result.rejected) == (600, 0)
    assert service.row("select count(distinct message_id) from raw.events") == (600,)
    assert (seen[0], seen[-1]) == ((0, 600), (600, 600))


def test_equal_lines_without_a_message_id_are_different_events_with_stable_ids(
    service: Service, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "a.ndjson", [{"type": "page", "userId": "u1"}] * 2)

    load_file(file, url=service.url)
    load_file(file, url=service.url)

    assert service.row("select count(*), count(distinct message_id) from raw.events") == (4, 2)


def test_a_bad_line_is_rejected_with_its_number_and_the_others_land(
    service: Service, tmp_path: Path
) -> None:
    file = write_lines(
        tmp_path / "a.ndjson",
        [{"type": "page"}, "not json", "", {"type": "track"}, '{"type": "page"', {"type": "page"}],
    )

    result = load_file(file, url=service.url)

    assert (result.accepted, result.rejected) == (2, 3)
    assert sorted(number for number, _ in result.reasons) == [2, 4, 5]
    assert service.row("select count(*) from raw.rejected_events") == (3,)


def test_shifting_moves_all_times_by_the_same_whole_days_up_to_today(
    service: Service, tmp_path: Path
) -> None:
    file = write_lines(
        tmp_path / "a.ndjson",
        [
            {"type": "page", "messageId": "m1", "timestamp": "1997-01-01T12:00:00.500Z"},
            {"type": "page", "messageId": "m2", "timestamp": "1998-06-30T00:00:01Z"},
        ],
    )

    load_file(file, url=service.url, shift_to_now=True)

    shift = datetime.now(UTC).date() - date(1998, 6, 30)
    assert service.rows("select occurred_at from raw.events order by message_id") == [
        (datetime(1997, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC) + shift,),
        (datetime(1998, 6, 30, 0, 0, 1, tzinfo=UTC) + shift,),
    ]


def test_an_amount_keeps_its_digits_when_its_line_is_shifted(
    service: Service, tmp_path: Path
) -> None:
    line = (
        '{"type":"page","timestamp":"2020-01-01","properties":{"a":1.10,"b":0.1234567890123456789}}'
    )
    load_file(write_lines(tmp_path / "a.ndjson", [line]), url=service.url, shift_to_now=True)

    assert service.row(
        "select payload #>> '{properties,a}', payload #>> '{properties,b}' from raw.events"
    ) == ("1.10", "0.1234567890123456789")


def test_history_is_not_moved_by_the_time_it_was_sent(service: Service, tmp_path: Path) -> None:
    event = {"type": "page", "timestamp": "2020-01-01T00:00:00Z", "sentAt": "2020-01-01T00:00:05Z"}
    load_file(write_lines(tmp_path / "a.ndjson", [event]), url=service.url)

    happened = datetime(2020, 1, 1, tzinfo=UTC)
    assert service.row("select occurred_at, sent_at, payload ->> 'sentAt' from raw.events") == (
        happened,
        happened + timedelta(seconds=5),
        "2020-01-01T00:00:05Z",
    )


def test_an_interrupted_load_goes_on_where_it_was(service: Service, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "a.ndjson",
        [{"type": "page", "messageId": f"m{number}"} for number in range(2000)],
    )

    def interrupt(done: int, _total: int) -> None:
        if done >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_file(file, url=service.url, checkpoint_dir=tmp_path / "loads", on_progress=interrupt)
    result = load_file(file, url=service.url, checkpoint_dir=tmp_path / "loads")

    assert result.skipped == 500
    assert result.accepted == 1500
    assert service.row("select count(distinct message_id) from raw.events") == (2000,)
    assert list((tmp_path / "loads").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut off", "one byte"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, damage: str) -> None:
    broken = tmp_path / "broken.ndjson.gz"
    whole = gzip.compress(random.Random(1).randbytes(10_000))  # noqa: S311
    middle = len(whole) // 2
    changed = whole[:10] + bytes([whole[10] ^ 6]) + whole[11:]
    broken.write_bytes(whole[:middle] if damage == "cut off" else changed)

    with pytest.raises(LoadError, match=r"broken\.ndjson\.gz cannot be read"):
        summarise(broken)


def test_a_file_is_inflated_whatever_its_name_and_its_first_line_may_have_a_byte_order_mark(
    service: Service, tmp_path: Path
) -> None:
    file = tmp_path / "export.ndjson"
    file.write_bytes(gzip.compress(b'\xef\xbb\xbf{"type": "page", "messageId": " "}\n'))

    for _time in range(2):
        result = load_file(file, url=service.url)
        assert (result.accepted, result.rejected) == (1, 0)

    assert service.row("select count(distinct message_id) from raw.events") == (1,)


def test_a_service_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.loader.RETRIES_SECONDS", 0.2)
    file = write_lines(tmp_path / "a.ndjson", [{"type": "page"}])

    with pytest.raises(LoadError, match="does not take events"):
        load_file(file, url="http://127.0.0.1:1")


def test_an_empty_file_is_loaded_at_once(service: Service, tmp_path: Path) -> None:
    result = load_file(write_lines(tmp_path / "a.ndjson", []), url=service.url, shift_to_now=True)

    assert (result.accepted, result.rejected) == (0, 0)


@pytest.mark.parametrize("broken", ["1, 2", '{"type": "page"}, {"type": "page"}', "]}", '],"x":['])
def test_a_line_that_is_not_one_event_stops_nothing(
    service: Service, tmp_path: Path, broken: str
) -> None:
    good = {"type": "page", "messageId": "good-1"}
    file = write_lines(tmp_path / "a.ndjson", [good, broken, good | {"messageId": "good-2"}])

    result = load_file(file, url=service.url)

    assert (result.accepted, result.rejected) == (2, 1)
    query = "select message_id from raw.events where message_id like %s"
    landed = service.rows(query, "good-%")
    assert sorted(message_id for (message_id,) in landed) == ["good-1", "good-2"]


@pytest.mark.parametrize("suffix", ["/nope", "/v1"])
def test_an_address_that_is_not_the_service_is_told_at_once(
    service: Service, tmp_path: Path, suffix: str
) -> None:
    file = write_lines(tmp_path / "a.ndjson", [{"type": "page"}])

    with pytest.raises(LoadError, match="Give the address of the service alone"):
        load_file(file, url=service.url + suffix)


def test_an_address_without_a_scheme_is_told_at_once(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.ndjson", [{"type": "page"}])

    with pytest.raises(LoadError, match="http://localhost:3000"):
        load_file(file, url="localhost:3000")
