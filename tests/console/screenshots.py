"""Take the pictures of docs/images from a platform that runs, best after `make demo`.

python -m tests.console.screenshots [http://localhost:3000]
"""

import sys
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize

from cdp.settings import PROJECT_DIR
from tests.collect.browser import chromium

IMAGES = PROJECT_DIR / "docs" / "images"
WIDE: ViewportSize = {"width": 1200, "height": 880}
PHONE: ViewportSize = {"width": 390, "height": 844}
SHOPPER = "grace@example.org"


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:3000"
    with chromium() as browser:
        checkout = picture(browser, "light", WIDE)
        check_out(checkout, url)
        save(checkout, "console_checkout")
        profile = picture(browser, "dark", WIDE)
        profile.goto(f"{url}/console/profiles?q=scenario-ada")
        profile.locator("tbody a").click()
        profile.wait_for_url("**/console/profiles/*")
        save(profile, "console_profile_dark")
        define = picture(browser, "light", WIDE)
        define.goto(f"{url}/console/define")
        define.get_by_label("Name", exact=True).fill("Recent spenders")
        define.get_by_label("Key").fill("recent_spenders")
        save(define, "console_define")
        pipeline = picture(browser, "dark", PHONE)
        pipeline.goto(f"{url}/console/pipeline")
        save(pipeline, "console_pipeline_phone")


def picture(browser: Browser, colours: Literal["dark", "light"], size: ViewportSize) -> Page:
    return browser.new_context(color_scheme=colours, viewport=size, locale="en-GB").new_page()


def check_out(page: Page, url: str) -> None:
    page.goto(f"{url}/")
    page.get_by_label("E-mail").fill(SHOPPER)
    page.get_by_label("Amount").fill("320")
    page.get_by_role("button", name="Check out").click()
    page.locator(".result").wait_for()


def save(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
