"""The real browser SDKs, unmodified, in headless Chromium, across origins."""

import json
import shutil
from pathlib import Path

import pytest

from tests.collect.browser import chromium_page, site
from tests.collect.sdk_packages import install_sdks
from tests.collect.service import Service, create_source, running

SEGMENT_BUNDLE = "@segment/analytics-next/dist/umd/index.js"
RUDDERSTACK_BUNDLE = "@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js"
JITSU_BUNDLE = "@jitsu/js/dist/jitsu.es.js"

SEGMENT_LOAD = """async ({url, key, delivery}) => {
    const host = url.replace('http://', '') + '/v1'
    const settings = {writeKey: key, cdnURL: url}
    const destination = {apiHost: host, protocol: 'http', deliveryStrategy: delivery}
    const options = delivery ? {integrations: {'Segment.io': destination}} : {}
    window.analytics = AnalyticsNext.AnalyticsBrowser.load(settings, options)
    await window.analytics.ready()
}"""
CALLS = """async () => {
    const analytics = window.analytics
    await analytics.page('Shop', {category: 'cd'})
    await analytics.identify('browser-user', {email: 'web@example.com'})
    await analytics.track('Order Completed', {order_id: 'o1', total: 19.9})
    await analytics.group('g1', {name: 'Acme'})
}"""
FOUR_CALLS = ["group", "identify", "page", "track"]


def landed_types(service: Service, count: int) -> list[str]:
    """The types that have landed, once there are `count` of them."""
    service.wait_for_events(count)
    rows = service.rows("select type from raw.events order by type")
    return [kind for (kind,) in rows]


def make_page(folder: Path, bundle: str, *, module: bool = False) -> None:
    shutil.copy(install_sdks() / bundle, folder / "sdk.js")
    script = (
        "<script type=module>import * as sdk from './sdk.js'; window.sdk = sdk</script>"
        if module
        else "<script src=sdk.js></script>"
    )
    (folder / "index.html").write_text(f"<!doctype html><title>Shop</title>{script}")


@pytest.mark.parametrize(
    "delivery",
    [None, {"strategy": "standard"}, {"strategy": "batching", "config": {"timeout": 200}}],
    ids=["as the settings say", "standard", "batching"],
)
def test_analytics_next_sends_every_call_across_origins(
    database: str, tmp_path: Path, delivery: dict[str, object] | None
) -> None:
    make_page(tmp_path, SEGMENT_BUNDLE)
    key = create_source(database, "web")
    with running(database) as service, site(tmp_path) as origin, chromium_page() as page:
        page.goto(origin)
        page.evaluate(SEGMENT_LOAD, {"url": service.url, "key": key, "delivery": delivery})
        page.evaluate(CALLS)

        assert landed_types(service, 4) == FOUR_CALLS
        assert service.rows("select distinct source from raw.events") == [("web",)]
        assert service.row("select user_id, email from raw.events where type = 'identify'") == (
            "browser-user",
            "web@example.com",
        )
        assert service.row("select count(distinct anonymous_id) from raw.events") == (1,)
        kept = json.dumps(service.rows("select payload from raw.events"))
        assert key not in kept


def test_analytics_next_backs_off_when_asked_to_and_loses_nothing(
    database: str, tmp_path: Path
) -> None:
    make_page(tmp_path, SEGMENT_BUNDLE)
    with (
        running(database, rate_limit_events=1) as service,
        site(tmp_path) as origin,
        chromium_page() as page,
    ):
        page.goto(origin)
        delivery = {"strategy": "standard"}
        page.evaluate(SEGMENT_LOAD, {"url": service.url, "key": "any", "delivery": delivery})
        page.evaluate("() => { for (const n of [1, 2, 3]) window.analytics.track('Click ' + n) }")

        assert landed_types(service, 3) == ["track"] * 3
        refused = ("cdp_ingest_requests_total", (("path", "/v1/t"), ("status", "429")))
        assert service.metrics()[refused] >= 1


def test_rudderstack_sends_every_call_across_origins(database: str, tmp_path: Path) -> None:
    make_page(tmp_path, RUDDERSTACK_BUNDLE)
    key = create_source(database, "web")
    with running(database) as service, site(tmp_path) as origin, chromium_page() as page:
        page.goto(origin)
        page.evaluate(
            """({url, key}) => new Promise((resolve) => {
                const Analytics = (window.rudderanalytics && window.rudderanalytics.RudderAnalytics)
                    || window.RudderAnalytics
                window.analytics = new Analytics()
                window.analytics.load(key, url, {configUrl: url})
                window.analytics.ready(resolve)
            })""",
            {"url": service.url, "key": key},
        )
        page.evaluate(CALLS)

        assert landed_types(service, 4) == FOUR_CALLS
        assert service.row("select user_id, email from raw.events where type = 'identify'") == (
            "browser-user",
            "web@example.com",
        )


def test_jitsu_sends_every_call_across_origins(database: str, tmp_path: Path) -> None:
    make_page(tmp_path, JITSU_BUNDLE, module=True)
    key = create_source(database, "web")
    with running(database) as service, site(tmp_path) as origin, chromium_page() as page:
        page.goto(origin)
        page.wait_for_function("window.sdk")
        page.evaluate(
            """({url, key}) => {
                window.analytics = window.sdk.jitsuAnalytics({host: url, writeKey: key + ':secret'})
            }""",
            {"url": service.url, "key": key},
        )
        page.evaluate(CALLS)

        assert landed_types(service, 4) == FOUR_CALLS
        assert service.rows("select distinct source from raw.events") == [("web",)]
