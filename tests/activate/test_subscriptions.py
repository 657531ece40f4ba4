"""seeds/destinations.csv and seeds/activations.csv: what they say, and mistakes in them."""

from pathlib import Path

import pytest

from cdp.settings import Settings
from dagster_project.destinations.configured import make_destination
from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.destination import DeliveryError
from dagster_project.destinations.row_format import DEFAULT_COLUMNS
from dagster_project.destinations.webhook import Webhook
from dagster_project.subscriptions import (
    SubscriptionError,
    Subscriptions,
    WebhookOptions,
    read_subscriptions,
)
from tests.activate.receiver import SECRET

DESTINATIONS = "destination,kind,address,secret,options"
ACTIVATIONS = "audience,destination,mode,columns,hashing,schedule,may_become_empty"
CRM = 'crm,webhook,https://crm.example/hook,CRM_SECRET,"{""concurrency"": 8}"'


def read(folder: Path, destinations: list[str], activations: list[str]) -> Subscriptions:
    (folder / "destinations.csv").write_text("\n".join([DESTINATIONS, *destinations]) + "\n")
    (folder / "activations.csv").write_text("\n".join([ACTIVATIONS, *activations]) + "\n")
    return read_subscriptions(folder)


def test_as_delivered_every_audience_goes_to_csv_with_each_refresh() -> None:
    chosen = read_subscriptions().required("csv", "any_audience")
    assert (chosen.mode, chosen.columns, chosen.hashing) == ("full", DEFAULT_COLUMNS, "none")
    assert chosen.schedule == "refresh"
    assert not chosen.may_become_empty


def test_a_row_that_names_the_audience_wins_over_one_for_all(tmp_path: Path) -> None:
    subscriptions = read(
        tmp_path,
        [CRM],
        ["*,crm,full,,,,", "vip,crm,delta,profile_id email traits.plan,meta,0 6 * * *,true"],
    )
    vip = subscriptions.required("crm", "vip")
    assert vip.columns == ("profile_id", "email", "traits.plan")
    assert (vip.mode, vip.hashing, vip.schedule, vip.may_become_empty) == (
        "delta",
        "meta",
        "0 6 * * *",
        True,
    )
    assert subscriptions.required("crm", "lapsed").mode == "full"
    assert subscriptions.crons == ("0 6 * * *",)
    assert subscriptions.destination("crm").options == WebhookOptions(concurrency=8)


@pytest.mark.parametrize(
    ("destination", "activation", "mistake"),
    [
        ("Crm,webhook,https://x,S,", "", "destination is 'Crm'"),
        ("crm,fax,https://x,S,", "", "kind is 'fax'; give csv, webhook, bigquery"),
        ("crm,webhook,,S,", "", "needs an address"),
        ("crm,webhook,https://x,,", "", "the variable that holds its signing secret"),
        ('crm,webhook,https://x,S,"{""retries"": 3}"', "", "unknown field `retries`"),
        ("crm,webhook,https://x,S,not json", "", "options"),
        (CRM, "vip,erp,full,,,,", "destination is 'erp'; seeds/destinations.csv has crm"),
        (CRM, ",crm,full,,,,", "audience is empty"),
        (CRM, "vip,crm,some,,,,", "mode is 'some'; give full, delta"),
        (CRM, "vip,crm,full,,md5,,", "hashing is 'md5'; give none, google, meta"),
        (CRM, "vip,crm,full,,,hourly,", "schedule is 'hourly'"),
        (CRM, "vip,crm,full,,,,yes", "may_become_empty is 'yes'"),
        (CRM, "vip,crm,full", "has not 7 fields"),
        (CRM, "vip,crm,full,,,,\nvip,crm,delta,,,,", "stands there twice"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, destination: str, activation: str, mistake: str
) -> None:
    with pytest.raises(SubscriptionError) as caught:
        read(tmp_path, [destination], [activation] if activation else [])
    assert mistake in str(caught.value)
    assert ".csv line " in str(caught.value)


def test_another_first_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "activations.csv").write_text(ACTIVATIONS + "\n")
    (tmp_path / "destinations.csv").write_text("name,kind\n")
    with pytest.raises(SubscriptionError, match="it must be destination,kind,address"):
        read_subscriptions(tmp_path)


def test_secrets_come_from_the_environment_by_their_names(tmp_path: Path) -> None:
    subscriptions = read(tmp_path, ["crm,webhook,$CRM_ADDRESS,CRM_SECRET,"], [])
    variables = {"CRM_ADDRESS": "https://crm.example/hook", "CRM_SECRET": SECRET}
    made = make_destination(subscriptions.destination("crm"), Settings(), variables.get)
    assert isinstance(made, Webhook)
    assert (made.name, made.url) == ("crm", "https://crm.example/hook")
    assert not made.allows_internal
    for missing in variables:
        others = {name: value for name, value in variables.items() if name != missing}
        with pytest.raises(DeliveryError, match=f"{missing} is not set"):
            make_destination(subscriptions.destination("crm"), Settings(), others.get)


@pytest.mark.parametrize("address", ["ftp://crm.example", "crm.example/hook"])
def test_a_webhook_goes_to_an_http_address_only(tmp_path: Path, address: str) -> None:
    subscriptions = read(tmp_path, [f"crm,webhook,{address},CRM_SECRET,"], [])
    with pytest.raises(DeliveryError, match="give an http or https address"):
        make_destination(subscriptions.destination("crm"), Settings(), {"CRM_SECRET": SECRET}.get)


def test_csv_files_lie_in_the_export_folder_unless_an_address_is_given(tmp_path: Path) -> None:
    subscriptions = read(
        tmp_path, ["csv,csv,,,", "lake,csv,memory://lake/out,,", "odd,csv,gopher://x,,"], []
    )
    settings = Settings(export_dir=tmp_path)
    made = make_destination(subscriptions.destination("csv"), settings)
    assert isinstance(made, CsvFiles)
    assert made == CsvFiles(made.storage, "csv", 30)
    with pytest.raises(DeliveryError, match="gopher://x cannot be opened"):
        make_destination(subscriptions.destination("odd"), settings)
