"""What every destination of the contract tests can be asked: what do you hold, and please fail."""

import csv
import io
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import fsspec
import pytest

from dagster_project.destinations import bigquery
from dagster_project.destinations.bigquery import BigQueryAudiences
from dagster_project.destinations.bigquery_tables import BigQueryTables
from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.csv_storage import open_storage
from dagster_project.destinations.destination import Destination
from dagster_project.destinations.parquet import write_parquet
from dagster_project.destinations.webhook import Webhook
from dagster_project.destinations.webhook_signature import read_secrets
from dagster_project.subscriptions import WebhookOptions
from tests.activate.receiver import SECRET, Receiver


class Place(Protocol):
    """A destination and the other end of it."""

    mode: str
    destination: Destination

    def holdings(self) -> dict[str, str]:
        """E-mail by profile_id of everybody that the place takes for a member."""

    def failing(self) -> AbstractContextManager[None]:
        """Nothing gets through in the block."""

    def traffic(self) -> Any:
        """Differs when something was sent."""


@dataclass
class CsvPlace:
    """CSV files under an address."""

    address: str
    mode: str
    destination: Destination = field(init=False)

    def __post_init__(self) -> None:
        self.destination = CsvFiles(open_storage(self.address))

    def holdings(self) -> dict[str, str]:
        members: dict[str, str] = {}
        for name in sorted(self._files(), key=lambda name: (".delta." in name, name)):
            for row in csv.DictReader(io.StringIO(self._files()[name])):
                if row.get("change") == "exited":
                    members.pop(row["profile_id"], None)
                else:
                    members[row["profile_id"]] = row["email"]
        return members

    @contextmanager
    def failing(self) -> Iterator[None]:
        """A disk that takes no more; what is remote is spooled there first."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def traffic(self) -> Any:
        return self._files()

    def _files(self) -> dict[str, str]:
        system, folder = fsspec.url_to_fs(self.address)
        if not system.exists(folder):
            return {}
        return {
            Path(path).name: system.cat_file(path).decode()
            for path in system.ls(folder, detail=False)
            if path.endswith(".csv")
        }


@dataclass
class WebhookPlace:
    """A receiver, told one row per message so that some can fail."""

    receiver: Receiver
    mode: str
    rows_per_message: int = 1
    destination: Destination = field(init=False)

    def __post_init__(self) -> None:
        self.destination = webhook(self.receiver, rows_per_message=self.rows_per_message)

    def holdings(self) -> dict[str, str]:
        return {key: row["email"] for key, row in self.receiver.holdings().items()}

    @contextmanager
    def failing(self) -> Iterator[None]:
        self.receiver.default = 500
        try:
            yield
        finally:
            self.receiver.default = 200

    def traffic(self) -> Any:
        return len(self.receiver.requests)


@dataclass
class BigQueryPlace:
    """A data set of the emulator; a failing load job is one of a file that is no Parquet."""

    tables: BigQueryTables
    mode: str
    destination: Destination = field(init=False)

    def __post_init__(self) -> None:
        self.destination = BigQueryAudiences(self.tables)
        self.tables.drop("audience_vip")

    def holdings(self) -> dict[str, str]:
        address = self.tables.address("audience_vip")
        rows = self.tables.client.query(f"select profile_id, email from `{address}`").result()
        return {row["profile_id"]: row["email"] for row in rows}

    @contextmanager
    def failing(self) -> Iterator[None]:
        def write_nonsense(*arguments: Any) -> int:
            rows = write_parquet(*arguments)
            arguments[-1].write_bytes(b"PAR1 and then nothing of the kind")
            return rows

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(bigquery, "write_parquet", write_nonsense)
            yield

    def traffic(self) -> Any:
        if not self.tables.exists("audience_vip"):
            return None
        table = self.tables.client.get_table(self.tables.address("audience_vip"))
        return table.modified, table.etag, [column.name for column in table.schema]


def webhook(receiver: Receiver, secret: str = SECRET, **options: Any) -> Webhook:
    """The destination that sends to this receiver."""
    chosen = {"timeout_seconds": 20, "concurrency": 2} | options
    return Webhook(
        "crm",
        receiver.url,
        read_secrets(secret, "CRM_SECRET"),
        WebhookOptions(**chosen),
        allows_internal=True,
    )
