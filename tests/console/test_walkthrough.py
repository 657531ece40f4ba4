"""The walkthrough of the README, in a browser, on the whole stack as `make up` starts it."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from cdp.postgres import EmbeddedPostgres

pytestmark = pytest.mark.long
START_SECONDS = 240
RUN_MS = 600_000


@dataclass(frozen=True)
class Stack:
    """Where a running stack answers."""

    url: str
    dagster: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A fresh platform: nothing was ever sent, no table built."""
    home = tmp_path / "home"
    ports = {"CDP_PORT": str(free_port()), "CDP_DAGSTER_PORT": str(free_port())}
    # Only the runs that the test asks for, and those of the sensors.
    chosen = {"CDP_HOME": str(home), "CDP_REFRESH_CRON": "0 0 1 1 *", **ports}
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cdp", "up"],
            env={**os.environ, **chosen},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = Stack(*(f"http://localhost:{port}" for port in ports.values()))
    try:
        for address in (f"{started.url}/ready", f"{started.dagster}/server_info"):
            wait_for(address, process, log)
        yield started
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            EmbeddedPostgres(home).stop()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


def check_out(page: Page, stack: Stack, amount: str, category: str) -> None:
    page.goto(f"{stack.url}/")
    page.get_by_label("E-mail").fill("grace@example.org")
    page.get_by_label("User id").fill("grace")
    page.get_by_label("Amount").fill(amount)
    page.get_by_label("Category").fill(category)
    page.get_by_role("button", name="Check out").click()


def wait_for_run(page: Page) -> None:
    """Wait until the run whose progress the page shows has succeeded."""
    expect(page.locator("#progress .notice")).to_be_visible(timeout=RUN_MS)
    expect(page.locator("#progress progress")).to_have_count(0, timeout=RUN_MS)
    expect(page.locator("#progress")).to_contain_text("succeeded")


def test_a_newcomer_sees_it_work(stack: Stack, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_context(accept_downloads=True).new_page()
    page.set_default_timeout(60_000)

    # Nothing is built yet, and the console says what to do.
    page.goto(f"{stack.url}/console/audiences")
    expect(page.locator(".empty")).to_contain_text("No audiences yet")
    page.goto(f"{stack.url}/console/pipeline")
    expect(page.locator("#freshness")).to_contain_text("never refreshed")
    page.get_by_role("button", name="Refresh now").click()
    wait_for_run(page)
    expect(page.locator("#freshness")).not_to_contain_text("never refreshed")

    # A new visitor is worth winning; the warehouse side does not hold.
    check_out(page, stack, "150", "concert tickets")
    expect(page.locator(".result h2")).to_contain_text("acquisition")
    expect(page.locator(".strip li.done")).to_have_count(4)

    # The purchase that makes the shopper high value: premium.
    check_out(page, stack, "320", "concert tickets")
    expect(page.locator(".result h2")).to_contain_text("premium")
    expect(page.locator(".strip")).to_contain_text("holds")

    # Who that is, and why.
    page.get_by_role("link", name="Look at the profile").click()
    expect(page.locator("h1")).to_have_text("grace@example.org")
    expect(page.locator(".facts")).to_contain_text("470.00 USD")

    # Audiences are counted on the tables: new events start a refresh by themselves.
    page.goto(f"{stack.url}/console/pipeline")
    expect(page.locator("#freshness")).to_contain_text("everything", timeout=RUN_MS)

    # An audience: preview, create, rebuild.
    page.goto(f"{stack.url}/console/define")
    page.get_by_label("Name", exact=True).fill("Big spenders")
    page.get_by_label("Key").fill("big_spenders")
    page.get_by_label("Definition").fill('{"total_spend": {"$gte": 400}}')
    expect(page.locator("#preview")).to_contain_text("Total spend is at least 400")
    expect(page.locator("#preview")).to_contain_text("grace@example.org")
    page.get_by_role("button", name="Create the audience").click()
    expect(page.locator("h1")).to_have_text("Big spenders")
    page.get_by_role("button", name="Rebuild").click()
    wait_for_run(page)
    run = page.locator("#progress a").get_attribute("href")
    page.reload()
    members = page.locator(".fact", has=page.get_by_text("Members", exact=True))
    expect(members.locator("dd")).to_have_text("1")
    expect(page.locator("tbody").filter(has_text="entered")).to_contain_text("grace@example.org")

    # The refresh knows the shopper, and what the events say of them.
    page.get_by_role("link", name="grace@example.org").first.click()
    expect(page.locator("h1")).to_have_text("grace@example.org")
    expect(page.locator("tbody").filter(has_text="Order Completed").first).to_be_visible()
    page.go_back()

    # Export it, and see the run in Dagster.
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    download.value.save_as(tmp_path / "big_spenders.csv")
    with (tmp_path / "big_spenders.csv").open(newline="") as file:
        assert [row["email"] for row in csv.DictReader(file)] == ["grace@example.org"]
    assert run is not None
    assert run.startswith(stack.dagster)
    page.goto(run)
    expect(page.get_by_text("Success").first).to_be_visible(timeout=RUN_MS)
