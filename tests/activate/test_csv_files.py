"""What a CSV file of an audience promises to whoever opens it."""

import csv
import hashlib
import json
import resource
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dagster_project.delivery import deliver
from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.destination import Delivered, DeliveryError
from tests.activate.conftest import Person, Tables

COLUMNS = [
    "email",
    "user_id",
    "total_spend",
    "total_orders",
    "last_seen_at",
    "profile_id",
    "added_at",
]


def send(tables: Tables, folder: Path, audience_key: str = "vip") -> Delivered:
    return deliver(
        tables.database, CsvFiles(folder), audience_key, holder="test", on_wait=pytest.fail
    )


def read(folder: Path, audience_key: str = "vip") -> list[dict[str, str]]:
    with (folder / f"{audience_key}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def manifest(folder: Path, audience_key: str = "vip") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / f"{audience_key}.manifest.json").read_text())
    return loaded


def test_the_columns_and_the_forms_of_their_values(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com", "u1", Decimal("1234.50"), 3)])
    send(tables, tmp_path)
    assert (tmp_path / "vip.csv").read_text() == (
        "email,user_id,total_spend,total_orders,last_seen_at,profile_id,added_at\n"
        "ada@example.com,u1,1234.50,3,2026-03-01 12:00:00.123456+00,"
        "00000000-0000-0000-0000-0000000f4240,2026-02-01 00:00:00+00\n"
    )


def test_instants_are_utc_whatever_the_server_prefers(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com")])
    with psycopg.connect(tables.database, autocommit=True) as connection:
        connection.execute(
            sql.SQL("alter database {} set timezone = 'America/New_York'").format(
                sql.Identifier(connection.info.dbname)
            )
        )
    send(tables, tmp_path)
    assert read(tmp_path)[0]["last_seen_at"] == "2026-03-01 12:00:00.123456+00"


def test_the_manifest_describes_the_file_that_lies_beside_it(
    tables: Tables, tmp_path: Path
) -> None:
    tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
    send(tables, tmp_path)
    content = (tmp_path / "vip.csv").read_bytes()
    assert manifest(tmp_path) == {
        "audience_key": "vip",
        "audience_id": 1,
        "definition_version": 1,
        "as_of": "2026-03-02T00:00:00+00:00",
        "file": "vip.csv",
        "columns": COLUMNS,
        "rows": 2,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        '=HYPERLINK("http://evil.example","open")',
        "+SUM(A1)",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\uff1d1+1",
        "\uff0d1+cmd",
        "-",
        "+",
        "-1e5x",
    ],
)
def test_text_that_a_spreadsheet_would_run_is_disarmed(
    tables: Tables, tmp_path: Path, text: str
) -> None:
    tables.put("vip", [Person(email=text, user_id=text)])
    send(tables, tmp_path)
    [row] = read(tmp_path)
    assert (row["email"], row["user_id"]) == (f"'{text}", f"'{text}")


@pytest.mark.parametrize("text", ["-5", "+4915112345678", "-0.25", "42", "a=b", "it's", "x@y.z"])
def test_plain_numbers_and_harmless_text_stay_as_they_are(
    tables: Tables, tmp_path: Path, text: str
) -> None:
    tables.put("vip", [Person(email=text, user_id=text)])
    send(tables, tmp_path)
    [row] = read(tmp_path)
    assert (row["email"], row["user_id"]) == (text, text)


def test_a_negative_amount_stays_a_number(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person(total_spend=Decimal("-12.30"))])
    send(tables, tmp_path)
    assert read(tmp_path)[0]["total_spend"] == "-12.30"


@pytest.mark.parametrize(
    "text", ['quo"te', "com,ma", "two\nlines", "Zoë 王 🎉", " spaces ", "semi;colon", "back\\slash"]
)
def test_every_character_comes_back(tables: Tables, tmp_path: Path, text: str) -> None:
    tables.put("vip", [Person(user_id=text)])
    send(tables, tmp_path)
    assert read(tmp_path)[0]["user_id"] == text


def test_a_missing_value_is_empty_and_an_empty_text_is_quoted(
    tables: Tables, tmp_path: Path
) -> None:
    tables.put("vip", [Person(email=None, user_id="")])
    send(tables, tmp_path)
    assert (tmp_path / "vip.csv").read_text().splitlines()[1].startswith(',"",')


def test_an_empty_audience_is_a_file_with_the_header_only(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip")
    assert send(tables, tmp_path).rows == 0
    assert (tmp_path / "vip.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert manifest(tmp_path)["rows"] == 0


def test_delivering_again_gives_the_same_bytes(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person(f"p{number}@example.com") for number in range(50)])
    send(tables, tmp_path)
    first = (tmp_path / "vip.csv").read_bytes()
    send(tables, tmp_path)
    assert (tmp_path / "vip.csv").read_bytes() == first


def test_members_who_left_are_gone_from_the_next_file(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
    send(tables, tmp_path)
    tables.put("vip", [Person("ada@example.com")])
    send(tables, tmp_path)
    assert [row["email"] for row in read(tmp_path)] == ["ada@example.com"]


def test_a_failure_in_the_middle_leaves_the_old_file(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com")])
    send(tables, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tables.put("vip", [Person(f"p{number}@example.com") for number in range(2000)])
    # The last row cannot be read, long after the first ones have been written.
    tables.execute(
        "alter table unify.profiles rename to profiles_stored;"
        " create view unify.profiles as select profile_id, email, user_id,"
        " case when email = 'p1999@example.com' then 1 / (total_orders - 1) else 1 end"
        " as total_spend, total_orders, last_seen_at from unify.profiles_stored"
    )
    with pytest.raises(Exception, match="division by zero"):
        send(tables, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    status, rows, error = tables.deliveries()[-1]
    assert (status, rows) == ("failed", None)
    assert "division by zero" in str(error)


def test_a_disk_that_takes_no_more_leaves_the_old_file(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com")])
    send(tables, tmp_path)
    before = (tmp_path / "vip.csv").read_bytes()
    tables.put("vip", [Person(f"p{number}@example.com") for number in range(50)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            send(tables, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "vip.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vip.csv", "vip.manifest.json"]


def test_a_member_without_a_profile_fails_the_delivery(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
    tables.execute("delete from unify.profiles where email = 'bob@example.com'")
    with pytest.raises(DeliveryError, match="2 members, but 1 of them"):
        send(tables, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_delivery_left_is_cleared_away(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com")])
    (tmp_path / ".vip.csv.partial").write_text("half a fi")
    tables.execute(
        "insert into activate.deliveries (destination, audience_id, status, started_at)"
        " values ('csv', 1, 'started', now() - interval '1 hour')"
    )
    send(tables, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vip.csv", "vip.manifest.json"]
    assert [status for status, _rows, _error in tables.deliveries()] == ["failed", "succeeded"]


def test_the_file_is_closed_to_other_accounts(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com")])
    send(tables, tmp_path)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO == 0


@pytest.mark.parametrize("key", ["../outside", "a/b", ".hidden", "Vip", ""])
def test_a_key_that_is_no_file_name_is_refused(tables: Tables, tmp_path: Path, key: str) -> None:
    folder = tmp_path / "exports"
    tables.put(key)
    with pytest.raises(DeliveryError, match="cannot be a file name"):
        send(tables, folder, key)
    assert not folder.exists()


def test_an_unknown_audience_says_what_to_do(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match=r"no audience 'nobody'.*cdp refresh"):
        send(tables, tmp_path, "nobody")


def test_each_attempt_is_on_record(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com")])
    send(tables, tmp_path)
    send(tables, tmp_path)
    assert tables.deliveries() == [("succeeded", 1, None), ("succeeded", 1, None)]
