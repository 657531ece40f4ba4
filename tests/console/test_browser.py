"""The console in headless Chromium: what only a browser can tell."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.collect.service import Service
from tests.console.platform import SCRIPTS, running_platform

PATIENCE_MS = 30_000
PAGES = (
    "/",
    "/console/profiles",
    "/console/profiles?q=nobody",
    "/console/audiences",
    "/console/audiences/high_value_last_30_days",
    "/console/define",
    "/console/pipeline",
    "/console/pipeline/deliveries/crm/7/msg_waits",
    "/console/login",
)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with context(browser) as viewer:
        yield opened(viewer)


def context(browser: Browser, **chosen: object) -> BrowserContext:
    """Somebody's browser: cookies and storage of their own."""
    viewer = browser.new_context(**chosen)  # type: ignore[arg-type]
    viewer.set_default_timeout(PATIENCE_MS)
    return viewer


def opened(viewer: BrowserContext) -> Page:
    return viewer.new_page()


def visit(page: Page, address: str) -> None:
    """Open a page and wait until its parts have come."""
    page.goto(address)
    settle(page)


def settle(page: Page) -> None:
    page.wait_for_load_state()
    expect(page.locator(".htmx-request")).to_have_count(0)


def check_out(page: Page, service: Service, email: str, amount: str, category: str) -> str:
    """Simulate a checkout and return the experience."""
    page.goto(f"{service.url}/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Amount").fill(amount)
    page.get_by_label("Category").fill(category)
    page.get_by_role("button", name="Check out").click()
    experience = page.locator(".result h2")
    expect(experience).to_be_visible(timeout=PATIENCE_MS)
    return experience.inner_text().strip().lower()


def test_the_strip_lights_up_step_by_step_with_milliseconds(page: Page, platform: Service) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert check_out(page, platform, "strip@example.org", "150", "concert tickets") == "acquisition"
    assert sum(url.endswith("/console/simulation") for url in asked) == 4
    steps = page.locator(".strip li")
    expect(steps).to_have_count(4)
    for number, name in enumerate(
        ("Checkout event", "Collect and unify", "Hybrid audience", "Experience")
    ):
        expect(steps.nth(number)).to_contain_text(name)
        expect(steps.nth(number)).to_have_class(re.compile("done"))
        assert re.search(r"\d ms", steps.nth(number).inner_text())
    signals = page.locator(".result tbody tr")
    assert signals.count() == 3
    expect(signals.filter(has_text="total_spend")).to_contain_text("300")
    expect(signals.filter(has_text="context.amount")).to_contain_text("yes")


def test_a_second_checkout_of_the_same_page_is_another_order(page: Page, platform: Service) -> None:
    check_out(page, platform, "again@example.org", "20", "books")
    following = page.locator("#simulation_id")
    second = following.input_value()
    page.get_by_role("button", name="Check out").click()
    # The last step brings the id of the next order; the answer of the first stands until then.
    expect(following).not_to_have_value(second, timeout=PATIENCE_MS)
    orders = (
        "select count(distinct payload -> 'properties' ->> 'order_id') from raw.events"
        " where email = 'again@example.org' and type = 'track'"
    )
    assert platform.row(orders) == (2,)


def test_no_page_asks_another_host_or_breaks_its_content_policy(
    page: Page, platform: Service
) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(platform.url) else problems.append(request.url)
        ),
    )
    for path in PAGES:
        visit(page, platform.url + path)
    check_out(page, platform, "quiet@example.org", "20", "books")
    assert problems == []


def test_stored_scripts_never_run(page: Page, platform: Service) -> None:
    page.on("dialog", lambda dialog: dialog.dismiss())
    visit(page, f"{platform.url}/console/profiles")
    page.locator("tbody a", has_text="window.attacked").click()
    page.wait_for_url("**/console/profiles/*")
    settle(page)
    expect(page.locator("h1")).to_have_text(SCRIPTS[0])
    for text in SCRIPTS:
        expect(page.locator("tbody th", has_text=text).first).to_be_attached()
    for path in ("/console/audiences", "/console/audiences/hostile", "/console/pipeline"):
        assert page.evaluate("window.attacked") is None
        visit(page, platform.url + path)
    assert page.evaluate("window.attacked") is None


@pytest.mark.parametrize(
    ("scheme", "options"),
    [("light", {"resultTypes": ["violations"]}), ("dark", {"runOnly": ["color-contrast"]})],
    ids=["light", "dark"],
)
def test_every_page_passes_the_accessibility_rules_of_axe(
    browser: Browser, platform: Service, scheme: str, options: dict[str, object]
) -> None:
    def broken_rules(page: Page) -> list[str]:
        violations = Axe().run(page, options=options).response["violations"]
        return [f"{page.url}: {each['id']}" for each in violations]

    # Axe itself would break the content policy; no rule of it depends on that.
    with context(browser, color_scheme=scheme, bypass_csp=True) as viewer:
        page = opened(viewer)
        found = []
        for path in PAGES[1:]:
            visit(page, platform.url + path)
            found += broken_rules(page)
        visit(page, f"{platform.url}/console/profiles?q=ada")
        page.locator("tbody a").click()
        page.wait_for_url("**/console/profiles/*")
        settle(page)
        found += broken_rules(page)
        check_out(page, platform, f"axe-{scheme}@example.org", "150", "concert tickets")
        found += broken_rules(page)
    assert found == []


def test_nothing_is_wider_than_a_phone(browser: Browser, platform: Service) -> None:
    with context(browser, viewport={"width": 360, "height": 740}) as viewer:
        page = opened(viewer)
        too_wide = []
        for path in (*PAGES, "/console/audiences/hostile"):
            visit(page, platform.url + path)
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                too_wide.append(path)
        visit(page, f"{platform.url}/console/profiles?q={SCRIPTS[0]}")
        page.locator("tbody a").click()
        page.wait_for_url("**/console/profiles/*")
        settle(page)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            too_wide.append("profile")
    assert too_wide == []


def test_a_checkout_takes_nothing_but_the_keyboard(page: Page, platform: Service) -> None:
    page.goto(f"{platform.url}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type("keys@example.org")
    page.keyboard.press("Enter")
    expect(page.locator(".result h2")).to_be_visible()


def test_without_scripts_what_comes_later_is_a_page_of_its_own(
    browser: Browser, platform: Service
) -> None:
    with context(browser, java_script_enabled=False) as viewer:
        page = opened(viewer)
        page.goto(f"{platform.url}/console/profiles?q=ada")
        page.locator("tbody a").click()
        page.get_by_role("link", name="the events").click()
        expect(page.locator("h1")).to_have_text("Events")
        expect(page.locator("tbody th")).to_have_count(50)
        page.get_by_role("link", name="Show more").click()
        expect(page.locator("tbody th")).to_have_count(14)
        page.get_by_role("link", name="The profile").click()
        expect(page.locator("h1")).to_have_text("ada@example.org")

        page.goto(f"{platform.url}/console/audiences/hostile")
        page.get_by_role("link", name="the history").click()
        expect(page.locator("tbody th")).to_have_count(50)

        page.goto(f"{platform.url}/console/pipeline")
        page.get_by_role("link", name="its runs").click()
        expect(page.locator("main")).to_contain_text("Dagster does not answer")
        page.get_by_role("link", name="Pipeline").first.click()
        page.get_by_role("button", name="Refresh now").click()
        expect(page.locator("main")).to_contain_text("Dagster does not answer")

        page.goto(f"{platform.url}/console/define")
        page.get_by_label("Definition").fill('{"total_spend": {"$gte": 1000}}')
        page.get_by_role("button", name="Preview").click()
        expect(page.locator(".words")).to_contain_text("Total spend is at least 1,000")


def test_times_are_in_the_readers_zone_with_utc_on_hover(
    browser: Browser, platform: Service
) -> None:
    shown = []
    for zone in ("Asia/Tokyo", "America/New_York"):
        with context(browser, timezone_id=zone, locale="en-GB") as viewer:
            page = opened(viewer)
            visit(page, f"{platform.url}/console/profiles?q=ada")
            time = page.locator("tbody time").first
            shown.append((time.inner_text(), time.get_attribute("title")))
    (tokyo, first_title), (new_york, second_title) = shown
    assert tokyo != new_york
    assert first_title == second_title
    assert first_title is not None
    assert first_title.endswith(" UTC")


def test_chosen_colours_stay(browser: Browser, platform: Service) -> None:
    with context(browser, color_scheme="light") as viewer:
        page = opened(viewer)
        page.goto(f"{platform.url}/")
        bright = page.evaluate("getComputedStyle(document.body).backgroundColor")
        button = page.get_by_role("button", name="Colours")
        button.click()
        button.click()
        expect(button).to_have_text("Colours: dark")
        page.goto(f"{platform.url}/console/audiences")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != bright


def test_two_people_do_not_see_each_other(browser: Browser, platform: Service) -> None:
    with context(browser) as first, context(browser) as second:
        pages = [opened(first), opened(second)]
        for page, name in zip(pages, ("anna", "bert"), strict=True):
            page.goto(f"{platform.url}/")
            page.get_by_label("E-mail").fill(f"{name}@example.org")
        pages[0].get_by_label("Category").fill("books")
        for page in pages:
            page.get_by_role("button", name="Check out").click()
        expect(pages[0].locator(".result h2")).to_contain_text("control")
        expect(pages[1].locator(".result h2")).to_contain_text("acquisition")
        assert "bert" not in pages[0].content()
        assert "anna" not in pages[1].content()


def test_a_preview_follows_what_is_typed(page: Page, platform: Service) -> None:
    visit(page, f"{platform.url}/console/define")
    definition = page.get_by_label("Definition")
    definition.fill('{"min_total_spend": 1000}')
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Total spend is at least 1,000")
    expect(preview).to_contain_text("Overlap with other audiences")
    definition.fill('{"min_total_spend": 1000')
    expect(preview).to_contain_text("This is not JSON yet")
    definition.fill('{"spend": 1}')
    expect(preview).to_contain_text("unknown attribute or operator")


def test_the_next_page_of_a_list_comes_on_request(page: Page, platform: Service) -> None:
    visit(page, f"{platform.url}/console/profiles")
    rows = page.locator("tbody tr:not(.more)")
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Show more").click()
    expect(rows).to_have_count(100)


def test_a_page_says_that_the_service_is_away_and_goes_on_when_it_is_back(
    page: Page, warehouse: str, tmp_path: Path
) -> None:
    with running_platform(warehouse, tmp_path) as service:
        port = int(service.url.rpartition(":")[2])
        visit(page, f"{service.url}/console/pipeline")
    connection = page.locator("#connection")
    expect(connection).to_contain_text("does not answer", timeout=PATIENCE_MS)
    with running_platform(warehouse, tmp_path, port=port) as service:
        expect(connection).to_contain_text("Connected again", timeout=PATIENCE_MS)
        page.get_by_role("link", name="Profiles").click()
        expect(page.locator("h1")).to_have_text("Profiles")
