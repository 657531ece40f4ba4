"""Destinations as `seeds/destinations.csv` and the settings describe them."""

from collections.abc import Callable

from cdp.settings import Settings, read_secret
from dagster_project.destinations.bigquery import BigQueryAudiences
from dagster_project.destinations.bigquery_tables import open_tables
from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.csv_storage import LocalFolder, open_storage
from dagster_project.destinations.destination import DeliveryError, Destination
from dagster_project.destinations.webhook import Webhook
from dagster_project.destinations.webhook_signature import SecretError, read_secrets
from dagster_project.subscriptions import (
    BigQueryOptions,
    CsvOptions,
    DestinationRow,
    WebhookOptions,
)

ReadSecret = Callable[[str], str | None]


def make_destination(
    row: DestinationRow, settings: Settings, secret: ReadSecret = read_secret
) -> Destination:
    """The destination of a row. Raises DeliveryError when a variable it names is missing."""
    address = _required(row.address[1:], row, secret) if row.address[:1] == "$" else row.address
    match row.options:
        case CsvOptions(keep_days=keep_days):
            storage = open_storage(address) if address else LocalFolder(settings.exports)
            return CsvFiles(storage, row.name, keep_days)
        case WebhookOptions():
            if not address.startswith(("http://", "https://")):
                raise DeliveryError(
                    f"The address of {row.name} is {address!r}; give an http or https address."
                )
            try:
                secrets = read_secrets(_required(row.secret, row, secret), row.secret)
            except SecretError as error:
                raise DeliveryError(str(error)) from None
            return Webhook(row.name, address, secrets, row.options, settings.private_webhooks)
        case BigQueryOptions():
            return BigQueryAudiences(open_tables(settings), row.name)


def _required(name: str, row: DestinationRow, secret: ReadSecret) -> str:
    value = secret(name)
    if not value:
        raise DeliveryError(
            f"{name} is not set, and seeds/destinations.csv needs it for {row.name}; set it in "
            "the environment or in .env."
        )
    return value
