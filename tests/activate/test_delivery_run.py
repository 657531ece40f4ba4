"""Several destinations in one run, retries between runs, and the jobs and commands for them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from cdp.cli import app
from cdp.settings import Settings
from dagster_project import delivery_assets, resend
from dagster_project.defs.deliveries import due_deliveries
from dagster_project.defs.delivery_jobs import resend_failed
from dagster_project.delivery_assets import (
    COUNTS_AGREE,
    EVERYTHING_ARRIVED,
    audience_asset_key,
    deliveries,
)
from dagster_project.delivery_run import Outcome, plan, run
from dagster_project.progress import unobserved
from dagster_project.subscriptions import Subscriptions, read_subscriptions
from tests.activate.conftest import Person, Tables
from tests.activate.receiver import SECRET, Receiver

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Setting:
    """Two destinations, `csv` and the webhook `crm`, as the seeds of a folder describe them."""

    def __init__(self, tables: Tables, receiver: Receiver, folder: Path) -> None:
        self.tables = tables
        self.exports = folder / "exports"
        self.settings = Settings(
            home=folder,
            export_dir=self.exports,
            private_webhooks=True,
            DATABASE_URL=tables.database,
        )
        (folder / "destinations.csv").write_text(
            "destination,kind,address,secret,options\n"
            "csv,csv,,,\n"
            f'crm,webhook,{receiver.url},CRM_SECRET,"{{""rows_per_message"": 1}}"\n'
        )
        (folder / "activations.csv").write_text(
            "audience,destination,mode,columns,hashing,schedule,may_become_empty\n"
            "*,crm,delta,email,none,,\n"
            "*,csv,full,,none,,\n"
            "lapsed,csv,full,,none,0 6 * * *,\n"
        )
        self.subscriptions = read_subscriptions(folder)

    def work(self, schedule: str = "refresh") -> Iterator[Outcome]:
        return run(
            plan(
                self.tables.database,
                self.settings,
                self.subscriptions,
                schedule=schedule,
                holder="test",
                on_wait=lambda _message: None,
            )
        )

    def files(self) -> set[str]:
        return {path.name for path in self.exports.glob("*.csv")}


@pytest.fixture
def setting(
    tables: Tables, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Setting:
    monkeypatch.setenv("CRM_SECRET", SECRET)
    made = Setting(tables, receiver, tmp_path)

    def read() -> Subscriptions:
        return made.subscriptions

    monkeypatch.setattr(delivery_assets, "read_subscriptions", read)
    monkeypatch.setattr(resend, "read_subscriptions", read)
    monkeypatch.setattr("dagster_project.subscriptions.read_subscriptions", read)
    monkeypatch.setenv("DATABASE_URL", tables.database)
    monkeypatch.setenv("CDP_PRIVATE_WEBHOOKS", "true")
    monkeypatch.setenv("CDP_HOME", str(tmp_path))
    return made


def statuses(outcomes: Iterator[Outcome]) -> dict[tuple[str, str | None], str]:
    return {(each.destination, each.audience_key): each.status for each in outcomes}


def test_each_destination_gets_what_it_subscribes_to(setting: Setting, receiver: Receiver) -> None:
    setting.tables.put("vip", [Person("ada@example.com")], audience_id=1)
    setting.tables.put("lapsed", [Person("bob@example.com")], audience_id=2)
    assert set(statuses(setting.work()).values()) == {"succeeded"}
    assert setting.files() == {"vip.csv"}
    assert len(receiver.holdings()) == 2
    assert statuses(setting.work("0 6 * * *")) == {("csv", "lapsed"): "succeeded"}
    assert setting.files() == {"vip.csv", "lapsed.csv"}


def test_a_destination_that_hangs_keeps_no_other_waiting(
    setting: Setting, receiver: Receiver
) -> None:
    setting.tables.put("vip", [Person("ada@example.com")])
    csv_is_there = threading.Event()
    asked = threading.Event()

    def wait_for_csv(handler: object) -> None:
        asked.set()
        csv_is_there.wait(60)
        receiver.accepted.append(receiver.requests[-1])
        handler.answer(200, {})  # type: ignore[attr-defined]

    receiver.replies = [wait_for_csv]
    order = []
    for outcome in setting.work():
        order.append(outcome.destination)
        if outcome.destination == "csv":
            assert asked.wait(60)
            csv_is_there.set()
    # The webhook is the first in the list and ends only after the file is there.
    assert order == ["csv", "crm"]


def test_a_destination_that_is_wrongly_set_up_keeps_no_other(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.tables.put("vip", [Person("ada@example.com")])
    monkeypatch.delenv("CRM_SECRET")
    outcomes = {each.destination: each for each in setting.work()}
    assert outcomes["csv"].status == "succeeded"
    assert outcomes["crm"].status == "failed"
    assert "CRM_SECRET is not set" in outcomes["crm"].message


def test_an_audience_that_nobody_subscribes_to_any_more_is_withdrawn(
    setting: Setting, receiver: Receiver
) -> None:
    setting.tables.put("vip", [Person("ada@example.com")], audience_id=1)
    setting.tables.put("other", [Person("bob@example.com")], audience_id=2)
    list(setting.work())
    (folder := setting.exports.parent).joinpath("activations.csv").write_text(
        "audience,destination,mode,columns,hashing,schedule,may_become_empty\n"
        "other,crm,delta,email,none,,\nother,csv,full,,none,,\n"
    )
    setting.subscriptions = read_subscriptions(folder)
    assert statuses(setting.work())["crm", "vip"] == "withdrawn"
    assert setting.files() == {"other.csv"}
    assert [row["email"] for row in receiver.holdings().values()] == ["bob@example.com"]


def materialize(setting: Setting, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [deliveries],
        instance=instance,
        resources={
            "settings": setting.settings,
            "on_step": dg.ResourceDefinition.hardcoded_resource(unobserved),
        },
        run_config=QUIET,
        raise_on_error=False,
    )


def checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {
        each.check_name: (each.passed, each.description or "")
        for each in result.get_asset_check_evaluations()
    }


def test_the_checks_say_what_has_not_arrived(setting: Setting, receiver: Receiver) -> None:
    setting.tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
    with dg.DagsterInstance.ephemeral() as instance:
        receiver.replies = [500]
        result = materialize(setting, instance)
        assert result.success
        passed, description = checks(result)[EVERYTHING_ARRIVED]
        assert not passed
        assert "crm vip: 1 rows have failed" in description
        assert checks(result)[COUNTS_AGREE] == (True, "")
        setting.tables.execute("update activate.delivery_rows set next_attempt_at = now()")
        result = materialize(setting, instance)
        assert checks(result)[EVERYTHING_ARRIVED] == (True, "")
        # Built again since, so that nobody has a reason to be compared.
        setting.tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
        materialize(setting, instance)
        setting.tables.execute(
            "delete from activate.acknowledged_rows where sent ->> 'email' = 'ada@example.com'"
        )
        assert checks(materialize(setting, instance))[COUNTS_AGREE] == (
            False,
            "crm vip: 2 members, 1 acknowledged",
        )


def test_a_destination_that_takes_nothing_is_not_made_fresh(
    setting: Setting, receiver: Receiver
) -> None:
    setting.tables.put("vip", [Person("ada@example.com")])
    receiver.default = 500
    with dg.DagsterInstance.ephemeral() as instance:

        def made() -> set[str]:
            return {
                name
                for name in ("csv", "crm")
                if instance.get_latest_materialization_event(audience_asset_key(name))
            }

        assert materialize(setting, instance).success
        assert made() == {"csv"}
        receiver.default = 200
        setting.tables.execute("update activate.delivery_rows set next_attempt_at = now()")
        assert materialize(setting, instance).success
        assert made() == {"csv", "crm"}


def test_the_job_resends_what_was_given_up(setting: Setting, receiver: Receiver) -> None:
    setting.tables.put("vip", [Person("ada@example.com")])
    receiver.replies = [500]
    list(setting.work())
    setting.tables.execute("update activate.delivery_rows set status = 'dead'")
    list(setting.work())
    assert receiver.holdings() == {}
    resources = {"settings": dg.ResourceDefinition.hardcoded_resource(setting.settings)}
    assert resend_failed.execute_in_process(resources=resources, run_config=QUIET).success
    assert len(receiver.holdings()) == 1


def test_the_sensor_asks_for_a_run_when_a_row_is_due(setting: Setting, receiver: Receiver) -> None:
    setting.tables.put("vip", [Person("ada@example.com")])
    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> object:
            context = dg.build_sensor_context(
                instance=instance, resources={"settings": setting.settings}
            )
            return due_deliveries(context)

        assert isinstance(tick(), dg.SkipReason)
        receiver.replies = [500]
        list(setting.work())
        assert isinstance(tick(), dg.SkipReason)
        setting.tables.execute("update activate.delivery_rows set next_attempt_at = now()")
        assert isinstance(tick(), dg.RunRequest)


def command(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["deliveries", *arguments], env={"COLUMNS": "200"})
    return result.output + (str(result.exception) if result.exception else "")


def test_the_commands_show_and_mend(setting: Setting, receiver: Receiver) -> None:
    assert "Nothing was delivered yet" in command("list")
    setting.tables.put("vip", [Person("ada@example.com")])
    receiver.replies = [500]
    list(setting.work())
    shown = command("list")
    assert "Answered 500" in shown
    assert "pending" in shown
    assert "1 rows delivered, 0 still to deliver" in command("resend", "--destination", "crm")
    assert "No row waits" in command("resend")
    setting.tables.put("vip", [])
    list(setting.work())
    assert "has become empty" in command("list")
    assert "1 rows of vip delivered to crm" in command("confirm", "vip", "crm")
    assert receiver.holdings() == {}
    assert "There is no destination 'erp'" in command("confirm", "vip", "erp")
    assert "neither disabled nor left alone" in command("enable", "crm")
    with psycopg.connect(setting.tables.database) as connection:
        connection.execute(
            "insert into activate.destination_states (destination, disabled_at)"
            " values ('crm', now()) on conflict (destination) do update set disabled_at = now()"
        )
    assert "crm is enabled" in command("enable", "crm")


def test_a_destination_that_was_gone_gets_everything_once_it_is_enabled_and_resent_to(
    setting: Setting, receiver: Receiver
) -> None:
    """The runbook of docs/operations.md, for one that answered 410."""
    setting.tables.put("vip", [Person(f"p{number}@example.com") for number in range(3)])
    receiver.default = 410
    list(setting.work())
    assert "answered 410 and has been disabled" in command("list")
    receiver.default = 200
    assert "cdp deliveries enable crm" in command("resend", "--destination", "crm")
    assert receiver.holdings() == {}
    assert "crm is enabled" in command("enable", "crm")
    resent = command("resend", "--destination", "crm")
    assert "3 rows delivered, 0 still to deliver" in resent
    assert len(receiver.holdings()) == 3
    assert "Answered 410" not in command("list")


def test_what_was_given_up_arrives_once_it_is_resent(setting: Setting, receiver: Receiver) -> None:
    """The same, for one that failed until its last attempt."""
    options = '"{""rows_per_message"": 1, ""attempts"": 1}"'
    folder = setting.exports.parent
    (folder / "destinations.csv").write_text(
        f"destination,kind,address,secret,options\ncsv,csv,,,\n"
        f"crm,webhook,{receiver.url},CRM_SECRET,{options}\n"
    )
    setting.subscriptions = read_subscriptions(folder)
    setting.tables.put("vip", [Person(f"p{number}@example.com") for number in range(3)])
    receiver.default = 500
    list(setting.work())
    shown = command("list", "--destination", "crm")
    assert shown.count(" dead ") == 3
    assert "Answered 500" in shown
    receiver.default = 200
    list(setting.work())
    assert receiver.holdings() == {}, "nobody but a person sends what was given up"
    assert "3 rows delivered, 0 still to deliver" in command("resend", "--destination", "crm")
    assert len(receiver.holdings()) == 3
    assert " dead " not in command("list", "--destination", "crm")


def test_in_another_cluster_everybody_is_compared_again(
    setting: Setting, receiver: Receiver
) -> None:
    """Transaction ids of a restored dump say nothing about when a profile was written."""
    setting.tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
    list(setting.work())
    setting.tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
    list(setting.work())
    setting.tables.execute(
        "update activate.subscription_states set system_identifier = 1, compared_xid = '999999999';"
        " update unify.profiles set email = 'new@example.com' where email = 'ada@example.com'"
    )
    list(setting.work())
    assert {row["email"] for row in receiver.holdings().values()} == {
        "new@example.com",
        "bob@example.com",
    }
