"""Which audience goes where: `seeds/destinations.csv` and `seeds/activations.csv`.

A secret never stands in a file: `secret`, and an `address` that begins with `$`, name a variable of
the environment or of `.env`.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from cdp.errors import UserError
from cdp.settings import PROJECT_DIR, valid_cron
from dagster_project.destinations.row_format import DEFAULT_COLUMNS, Hashing

SEEDS = PROJECT_DIR / "seeds"
Mode = Literal["full", "delta"]
Kind = Literal["csv", "webhook", "bigquery"]
WITH_EACH_REFRESH = "refresh"
BY_HAND = "manual"
EVERY_AUDIENCE = "*"

DESTINATION_COLUMNS = ("destination", "kind", "address", "secret", "options")
ACTIVATION_COLUMNS = (
    "audience",
    "destination",
    "mode",
    "columns",
    "hashing",
    "schedule",
    "may_become_empty",
)


class SubscriptionError(UserError):
    """A row of a seed cannot be used; the message names the file, the line and what to give."""


class CsvOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`keep_days`: age at which delta files are removed by the next delivery of their audience."""

    keep_days: int = 30


class WebhookOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How fast, how long and how often a receiver is asked.

    `run_seconds` bounds what a slow receiver may cost one run; the rest goes out with the next.
    `per_second` 0 is no limit. A message is given up after `attempts`.
    """

    concurrency: int = 4
    per_second: float = 0
    rows_per_message: int = 500
    timeout_seconds: float = 10
    run_seconds: float = 60
    attempts: int = 12


class BigQueryOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """None yet."""


Options = CsvOptions | WebhookOptions | BigQueryOptions
OPTIONS: dict[str, type[Options]] = {
    "csv": CsvOptions,
    "webhook": WebhookOptions,
    "bigquery": BigQueryOptions,
}


@dataclass(frozen=True)
class DestinationRow:
    """A row of seeds/destinations.csv."""

    name: str
    kind: Kind
    address: str
    secret: str
    options: Options


@dataclass(frozen=True)
class Subscription:
    """A row of seeds/activations.csv: an audience, or every one, to a destination."""

    audience: str
    destination: str
    mode: Mode = "full"
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    hashing: Hashing = "none"
    schedule: str = WITH_EACH_REFRESH
    may_become_empty: bool = False


@dataclass(frozen=True)
class Subscriptions:
    """Both seeds, checked against one another."""

    destinations: tuple[DestinationRow, ...]
    activations: tuple[Subscription, ...]

    def of(self, destination: str, audience_key: str) -> Subscription | None:
        """What applies: a row that names the audience wins over one for every audience."""
        matching = [
            each
            for each in self.activations
            if each.destination == destination and each.audience in (audience_key, EVERY_AUDIENCE)
        ]
        named = [each for each in matching if each.audience == audience_key]
        return next(iter(named or matching), None)

    def required(self, destination: str, audience_key: str) -> Subscription:
        """Like `of`. Raises SubscriptionError where nothing applies."""
        found = self.of(destination, audience_key)
        if found is None:
            raise SubscriptionError(
                f"seeds/activations.csv sends no audience {audience_key} to {destination}; add a "
                "row for it."
            )
        return found

    def destination(self, name: str) -> DestinationRow:
        """The destination of that name. Raises SubscriptionError where there is none."""
        for row in self.destinations:
            if row.name == name:
                return row
        names = ", ".join(row.name for row in self.destinations)
        raise SubscriptionError(
            f"There is no destination {name!r}; seeds/destinations.csv has {names or 'none'}."
        )

    @property
    def crons(self) -> tuple[str, ...]:
        """The schedules that are neither with each refresh nor by hand."""
        schedules = {each.schedule for each in self.activations}
        return tuple(sorted(schedules - {WITH_EACH_REFRESH, BY_HAND}))


def read_subscriptions(folder: Path = SEEDS) -> Subscriptions:
    """Both seeds of a folder. Raises SubscriptionError for the first row that cannot be used."""
    destinations = tuple(
        _destination(row, where)
        for row, where in _rows(folder / "destinations.csv", DESTINATION_COLUMNS)
    )
    names = [each.name for each in destinations]
    activations: list[Subscription] = []
    for row, where in _rows(folder / "activations.csv", ACTIVATION_COLUMNS):
        activation = _activation(row, where)
        if activation.destination not in names:
            raise SubscriptionError(
                f"{where}: destination is {activation.destination!r}; seeds/destinations.csv has "
                f"{', '.join(names) or 'none'}."
            )
        if any(
            (each.audience, each.destination) == (activation.audience, activation.destination)
            for each in activations
        ):
            raise SubscriptionError(
                f"{where}: {activation.audience} to {activation.destination} stands there twice; "
                "keep one row."
            )
        activations.append(activation)
    if len(set(names)) < len(names):
        raise SubscriptionError(f"{folder / 'destinations.csv'}: a name stands there twice.")
    return Subscriptions(destinations, tuple(activations))


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[dict[str, str], str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise SubscriptionError(
                f"{path.name}: the first line is {','.join(reader.fieldnames or ())}; it must be "
                f"{','.join(columns)}."
            )
        for row in reader:
            where = f"{path.name} line {reader.line_num}"
            if None in row or None in row.values():
                raise SubscriptionError(f"{where} has not {len(columns)} fields.")
            yield {name: value.strip() for name, value in row.items()}, where


def _destination(row: dict[str, str], where: str) -> DestinationRow:
    name = row["destination"]
    if not name.replace("_", "").isalnum() or not name.isascii() or name != name.lower():
        raise SubscriptionError(
            f"{where}: destination is {name!r}; use lower-case letters, digits and _."
        )
    kind = _one_of(row["kind"], Kind, f"{where}: kind")
    if kind == "webhook" and not (row["address"] and row["secret"]):
        raise SubscriptionError(
            f"{where}: a webhook needs an address and in secret the name of the variable that "
            "holds its signing secret."
        )
    try:
        options = msgspec.json.decode(row["options"] or "{}", type=OPTIONS[kind])
    except msgspec.DecodeError as error:
        raise SubscriptionError(f"{where}: options: {error}; it is {row['options']}.") from None
    return DestinationRow(name, kind, row["address"], row["secret"], options)


def _activation(row: dict[str, str], where: str) -> Subscription:
    if not row["audience"]:
        raise SubscriptionError(f"{where}: audience is empty; give a key, or * for every audience.")
    schedule = row["schedule"] or WITH_EACH_REFRESH
    if schedule not in (WITH_EACH_REFRESH, BY_HAND) and not valid_cron(schedule):
        raise SubscriptionError(
            f"{where}: schedule is {schedule!r}; give refresh, manual or five cron fields."
        )
    return Subscription(
        audience=row["audience"],
        destination=row["destination"],
        mode=_one_of(row["mode"] or "full", Mode, f"{where}: mode"),
        columns=tuple(row["columns"].split()) or DEFAULT_COLUMNS,
        hashing=_one_of(row["hashing"] or "none", Hashing, f"{where}: hashing"),
        schedule=schedule,
        may_become_empty=_one_of(
            row["may_become_empty"] or "false",
            Literal["true", "false"],
            f"{where}: may_become_empty",
        )
        == "true",
    )


Chosen = TypeVar("Chosen", bound=str)


def _one_of(value: str, choices: Any, what: str) -> Any:
    known = get_args(choices)
    if value not in known:
        raise SubscriptionError(f"{what} is {value!r}; give {', '.join(known)}.")
    return value
