"""Columns of a subscription and the forms that advertising platforms prescribe."""

import csv
import hashlib
from pathlib import Path

import pytest

from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.row_format import ColumnError
from tests.activate.conftest import Person, Tables


def deliver(tables: Tables, folder: Path, **subscription: object) -> list[dict[str, str]]:
    tables.deliver(CsvFiles(folder), **subscription)  # type: ignore[arg-type]
    with (folder / "vip.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_only_the_columns_that_were_asked_for_leave(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com", traits={"plan": "gold", "city": "=Rome"})])
    rows = deliver(tables, tmp_path, columns=("traits.plan", "email", "traits.city", "traits.none"))
    assert rows == [
        {
            "traits.plan": "gold",
            "email": "ada@example.com",
            "traits.city": "'=Rome",
            "traits.none": "",
        }
    ]


def test_a_column_that_does_not_exist_is_named(tables: Tables, tmp_path: Path) -> None:
    tables.put("vip", [Person("ada@example.com")])
    with pytest.raises(ColumnError, match=r"no column e-mail, shoe_size .* may name .*total_spend"):
        deliver(tables, tmp_path, columns=("e-mail", "email", "shoe_size"))
    assert not tmp_path.joinpath("vip.csv").exists()


@pytest.mark.parametrize(
    ("hashing", "email", "normalised"),
    [
        ("google", "  Ada.Love.Lace@Gmail.com ", "adalovelace@gmail.com"),
        ("google", "a.b@googlemail.com", "ab@googlemail.com"),
        ("google", "cloudy.sanfrancisco+shopping@gmail.com", "cloudysanfrancisco@gmail.com"),
        ("google", "a.b@example.com", "a.b@example.com"),
        ("google", "user.name+NYC@Example.com", "user.name+nyc@example.com"),
        ("google", "a.b@notgmail.com", "a.b@notgmail.com"),
        ("google", "a b@example.com", "ab@example.com"),
        ("meta", "  Ada.Love.Lace@Gmail.com ", "ada.love.lace@gmail.com"),
        ("meta", "ada+shop@gmail.com", "ada+shop@gmail.com"),
        ("meta", "ZOË@example.com", "zoë@example.com"),
    ],
)
def test_an_address_is_hashed_in_the_form_of_the_platform(
    tables: Tables, tmp_path: Path, hashing: str, email: str, normalised: str
) -> None:
    tables.put("vip", [Person(email)])
    [row] = deliver(tables, tmp_path, columns=("email",), hashing=hashing)
    assert row["email"] == sha256(normalised)


@pytest.mark.parametrize(
    ("hashing", "phone", "normalised"),
    [
        ("google", "+1 (234) 567-8910", "+12345678910"),
        ("google", "+442070313000", "+442070313000"),
        ("google", "030 123456", None),
        ("meta", "+1 (234) 567-8910", "12345678910"),
        ("meta", "0044 207 031 3000", "442070313000"),
        ("meta", "030 123456", None),
    ],
)
def test_a_phone_number_is_hashed_in_the_form_of_the_platform_or_left_out(
    tables: Tables, tmp_path: Path, hashing: str, phone: str, normalised: str | None
) -> None:
    tables.put("vip", [Person("a@example.com", phone=phone)])
    [row] = deliver(tables, tmp_path, columns=("phone", "email"), hashing=hashing)
    assert row["phone"] == (sha256(normalised) if normalised else "")


@pytest.mark.parametrize("email", [None, "", "   "])
def test_nothing_is_hashed_where_there_is_nothing(
    tables: Tables, tmp_path: Path, email: str | None
) -> None:
    tables.put("vip", [Person(email, "u1")])
    rows = deliver(tables, tmp_path, columns=("user_id", "email"), hashing="meta")
    assert rows == [{"user_id": "u1", "email": ""}]


def test_no_plain_address_leaves_in_a_delta_or_is_remembered(
    tables: Tables, tmp_path: Path
) -> None:
    for people in ([Person("ada@example.com"), Person("bob@example.com")], [Person()]):
        tables.put("vip", people)
        tables.deliver(CsvFiles(tmp_path), mode="delta", columns=("email",), hashing="google")
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    remembered = str(tables.rows("select sent from activate.acknowledged_rows"))
    assert "@" not in written + remembered
    assert sha256("bob@example.com") in written
