"""The pages as HTML: what they say, what they escape, whom they refuse."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.collect.service import Service
from tests.console.platform import PEOPLE, SCRIPTS, running_platform

PAGES = (
    "/",
    "/console/profiles",
    "/console/audiences",
    "/console/audiences/high_value_last_30_days",
    "/console/define",
    "/console/pipeline",
    "/console/pipeline/deliveries/crm/7/msg_waits",
    "/console/login",
)


def text_of(html: str) -> str:
    """What a reader sees, without the markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def profile_of(platform: Service, user_id: str) -> str:
    found = httpx.get(f"{platform.url}/profiles", params={"user_id": user_id}).json()["profiles"]
    return f"{platform.url}/console/profiles/{found[0]['profile_id']}"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_one_heading_and_a_strict_content_policy(platform: Service, path: str) -> None:
    page = httpx.get(platform.url + path)
    assert page.status_code == 200
    assert page.text.count("<h1") == 1
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy
    assert page.headers["cache-control"] == "no-store"
    assert re.findall(r"<[^<>]*\s(?:on\w+|style)=|<style|<script(?! src=)", page.text) == []


def test_the_api_keeps_its_addresses_beside_the_console(platform: Service) -> None:
    for path in ("/profiles", "/audiences", "/health", "/ready", "/openapi/serving.json"):
        answer = httpx.get(platform.url + path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"].startswith("application/json"), path
    unknown = httpx.get(f"{platform.url}/nowhere")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_profiles_by_last_seen_are_listed_once_each_over_all_pages(platform: Service) -> None:
    address: str | None = "/console/profiles"
    seen: list[str] = []
    pages = 0
    while address:
        page = httpx.get(platform.url + address, headers={"HX-Request": "true"}).text
        seen += re.findall(r'<a href="/console/profiles/([0-9a-f-]{36})"', page)
        following = re.search(r'hx-get="([^"]+after=[^"]+)"', page)
        address = unescape(following[1]) if following else None
        pages += 1
    assert pages == 3
    assert len(seen) == len(set(seen)) == PEOPLE + 2
    newest = httpx.get(f"{platform.url}/profiles/{seen[0]}").json()["last_seen_at"]
    oldest = httpx.get(f"{platform.url}/profiles/{seen[-1]}").json()["last_seen_at"]
    assert newest > oldest


@pytest.mark.parametrize("identifier", ["ada", "ADA@example.org", "ada-phone", "ada-laptop"])
def test_a_profile_is_found_by_every_identifier(platform: Service, identifier: str) -> None:
    page = httpx.get(f"{platform.url}/console/profiles", params={"q": identifier})
    assert "1 profile carries" in text_of(page.text)
    assert "ada@example.org" in page.text


def test_a_profile_id_leads_to_its_page(platform: Service) -> None:
    address = profile_of(platform, "ada")
    profile_id = address.rpartition("/")[2]
    found = httpx.get(f"{platform.url}/console/profiles", params={"q": profile_id})
    assert found.status_code == 303
    assert address.endswith(found.headers["location"])


def test_a_profile_shows_money_identifiers_and_audiences(platform: Service) -> None:
    told = text_of(httpx.get(profile_of(platform, "ada")).text)
    assert "Spend 1,320.00 USD" in told
    assert "ada-laptop" in told
    assert "ada-phone" in told
    assert "high_value_last_30_days" in told


def test_events_come_newest_first_and_page_by_page(platform: Service) -> None:
    address: str | None = profile_of(platform, "ada") + "/events"
    times: list[str] = []
    while address:
        page = httpx.get(address).text
        times += re.findall(r'<time datetime="([^"]+)"', page)
        following = re.search(r'hx-get="([^"]+)"', page)
        address = platform.url + unescape(following[1]) if following else None
    assert len(times) == 64
    assert times == sorted(times, reverse=True)


def test_scripts_in_traits_event_names_and_audiences_stay_text(platform: Service) -> None:
    address = profile_of(platform, SCRIPTS[0])
    audience = f"{platform.url}/console/audiences/hostile"
    for page in (address, address + "/events", f"{platform.url}/console/audiences", audience):
        html = httpx.get(page).text
        for text in SCRIPTS:
            assert text not in html, page
        assert "&lt;" in html
    shown = unescape(httpx.get(address).text)
    assert all(f"trait {text}" in shown for text in SCRIPTS)
    found = httpx.get(f"{platform.url}/console/profiles", params={"q": SCRIPTS[0]}).text
    assert SCRIPTS[0] not in found
    assert "1 profile carries" in text_of(found)


def test_an_audience_is_told_in_words_and_as_sql(platform: Service) -> None:
    told = text_of(httpx.get(f"{platform.url}/console/audiences/high_value_last_30_days").text)
    assert "total spend is at least 100" in told
    assert "the last event was at most 30 x 24 hours ago" in told
    assert "profiles.total_spend >= 100" in told
    history = httpx.get(f"{platform.url}/console/audiences/high_value_last_30_days/history")
    assert "ada@example.org" in history.text
    assert "entered" in history.text


def test_the_history_of_an_audience_is_paged_without_gap(platform: Service) -> None:
    address: str | None = "/console/audiences/hostile/history"
    seen: list[str] = []
    while address:
        page = httpx.get(platform.url + address, headers={"HX-Request": "true"}).text
        seen += re.findall(r'<a href="/console/profiles/([0-9a-f-]{36})"', page)
        following = re.search(r'hx-get="([^"]+)"', page)
        address = unescape(following[1]) if following else None
    assert len(seen) == len(set(seen)) == PEOPLE + 1


def test_the_pipeline_says_what_was_rejected_and_why_but_not_what_it_held(
    platform: Service,
) -> None:
    told = text_of(httpx.get(f"{platform.url}/console/pipeline").text)
    assert "missing_event_type" in told
    assert "secret-of-somebody" not in told
    assert re.search(r"test \d+ \d+ 0 0", told), "events by source and outcome"


def test_the_pipeline_shows_what_destinations_have_not_taken_what_was_given_up_first(
    platform: Service,
) -> None:
    html = httpx.get(f"{platform.url}/console/pipeline").text
    told = text_of(html)
    assert "crm has been disabled since" in told
    assert "Answered 410. When it is back, run cdp deliveries enable crm" in told
    assert re.search(r"high_value_last_30_days 1 12 when it is sent again given up", told)
    assert re.search(r"crm 7 2 1 .* waits No answer within 10 s\.", told)
    assert told.index("given up") < told.index("No answer within 10 s.")
    assert "3 rows; the first 2 messages are shown" in told
    assert "<b>no</b>" not in html
    [address] = re.findall(r'href="(/console/pipeline/deliveries/crm/[^"]+/msg_given_up)"', html)
    page = httpx.get(platform.url + address).text
    assert "ada@example.org entered" in text_of(page)
    assert "tried 12 times" in text_of(page)
    assert "sent-to-nobody" not in page
    again = httpx.post(f"{platform.url}/console/runs", data={"job": "resend_failed"})
    assert "Dagster does not answer" in unescape(again.text)


def test_without_dagster_the_pipeline_says_how_to_start_it(platform: Service) -> None:
    runs = httpx.get(f"{platform.url}/console/pipeline/runs")
    assert "make up" in runs.text
    started = httpx.post(
        f"{platform.url}/console/runs", data={"job": "refresh"}, headers={"HX-Request": "true"}
    )
    assert started.status_code == 503
    assert "Dagster does not answer" in unescape(started.text)


def test_only_the_jobs_that_are_offered_can_be_started(platform: Service) -> None:
    started = httpx.post(f"{platform.url}/console/runs", data={"job": "erase_profiles"})
    assert started.status_code == 400


def test_a_checkout_works_without_scripts(platform: Service) -> None:
    form = {"email": "noscript@example.org", "amount": "20", "category": "books"}
    page = httpx.post(f"{platform.url}/console/simulation", data=form, timeout=30)
    told = text_of(page.text)
    assert page.status_code == 200, told
    assert "control" in told
    assert "the hybrid audience does not hold" in told


def test_who_came_after_the_last_refresh_has_a_page_too(platform: Service) -> None:
    form = {"email": "newcomer@example.org", "amount": "25", "category": "books"}
    httpx.post(f"{platform.url}/console/simulation", data=form, timeout=30)
    found = httpx.get(f"{platform.url}/console/profiles", params={"q": form["email"]}, timeout=30)
    link = re.search(r'href="(/console/profiles/[0-9a-f-]{36}[^"]*)"', found.text)
    assert link
    page = httpx.get(platform.url + unescape(link[1]), timeout=30)
    assert page.status_code == 200
    assert "25.00 USD" in page.text
    events = httpx.get(platform.url + unescape(link[1]) + "/events", timeout=30)
    assert "Order Completed" in events.text


def test_a_checkout_that_is_sent_twice_counts_once(platform: Service) -> None:
    form = {
        "simulation_id": "6f1c1a52-6c2f-4a0c-9d0a-0c5a4c8f2b11",
        "user_id": "twice",
        "amount": "20",
        "category": "books",
    }
    for _each in range(2):
        httpx.post(f"{platform.url}/console/simulation", data=form, timeout=30)
    landed = "select count(distinct message_id) from raw.events where user_id = 'twice'"
    assert platform.row(landed) == (2,)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"amount": "20"}, "Give an e-mail, a user id, or both."),
        ({"email": "a@example.org", "amount": "many"}, 'The amount is "many"'),
        ({"email": "a@example.org", "amount": "NaN"}, 'The amount is "NaN"'),
        ({"email": "a@example.org", "amount": "-1"}, 'The amount is "-1"'),
        ({"email": "a" * 70_000, "amount": "1"}, "The form has more than"),
    ],
)
def test_a_wrong_form_is_answered_in_words(
    platform: Service, form: dict[str, str], message: str
) -> None:
    answer = httpx.post(
        f"{platform.url}/console/simulation", data=form, headers={"HX-Request": "true"}
    )
    assert 400 <= answer.status_code < 500
    assert message in unescape(answer.text)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/console/nowhere", 404),
        ("/console/profiles/00000000-0000-4000-8000-000000000000", 404),
        ("/console/profiles/1", 404),
        ("/console/profiles?after=!!", 400),
        ("/console/profiles?after=MjAyNg==", 400),
        ("/console/audiences/nobody", 404),
        ("/console/audiences/nobody/history", 404),
        ("/console/define?key=nobody", 404),
        ("/console/pipeline/deliveries/crm/7/msg_nobody", 404),
        ("/console/pipeline/deliveries/crm/99999999999999999999/msg_waits", 404),
        ("/console/static/../app.py", 404),
    ],
)
def test_a_wrong_address_is_told_in_words(platform: Service, path: str, status: int) -> None:
    page = httpx.get(platform.url + path)
    assert page.status_code == status
    assert "<h1" in page.text
    assert "Traceback" not in page.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_site_is_refused(platform: Service, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{platform.url}/console/logout", headers=headers)
    assert answer.status_code == 403
    own = httpx.post(f"{platform.url}/console/logout", headers={"Origin": platform.url})
    assert own.status_code == 303


def test_an_audience_is_previewed_and_defined(platform: Service) -> None:
    form = {
        "audience_key": "spenders",
        "name": "Spenders",
        "description": "",
        "definition": '{"min_total_spend": 1000}',
    }
    preview = text_of(
        httpx.post(f"{platform.url}/console/define/preview", data=form, timeout=30).text
    )
    assert f"Members 1 of {PEOPLE + 2} profiles" in preview
    assert "Overlap with other audiences" in preview
    defined = httpx.post(f"{platform.url}/console/define", data=form)
    assert defined.status_code == 303
    page = text_of(httpx.get(platform.url + defined.headers["location"]).text)
    assert "Not evaluated yet" in page
    assert "Total spend is at least 1,000" in page
    listed = text_of(httpx.get(f"{platform.url}/console/audiences").text)
    assert "Spenders spenders" in listed
    assert "waits for a refresh" in listed
    stored = "select definition from raw.audience_definitions where audience_key = 'spenders'"
    assert platform.row(stored) == ('{"min_total_spend":1000}',)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("{", "This is not JSON yet"),
        ('{"spend": 1}', "unknown attribute or operator"),
        ("[" * 3000, "This is not JSON yet"),
    ],
)
def test_a_definition_with_a_mistake_is_not_taken_and_stays_in_the_form(
    platform: Service, definition: str, message: str
) -> None:
    form = {"audience_key": "wrong", "name": "Wrong", "definition": definition}
    preview = httpx.post(f"{platform.url}/console/define/preview", data=form)
    assert message in unescape(preview.text)
    refused = httpx.post(f"{platform.url}/console/define", data=form)
    assert refused.status_code == 400
    assert message in unescape(refused.text)
    assert definition in unescape(refused.text)


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.count("/") < 4 and "high_value" not in path]
)
def test_before_the_first_refresh_every_page_says_what_to_do(unbuilt: Service, path: str) -> None:
    page = httpx.get(unbuilt.url + path)
    assert page.status_code == 200, text_of(page.text)


def test_before_the_first_refresh_a_page_may_be_asked_for_again_and_again(
    unbuilt: Service,
) -> None:
    for _each in range(40):
        assert httpx.get(f"{unbuilt.url}/console/pipeline").status_code == 200
        assert httpx.get(f"{unbuilt.url}/profiles").status_code == 503


def test_before_the_first_refresh_a_checkout_is_stored_and_says_what_is_missing(
    unbuilt: Service,
) -> None:
    form = {"email": "first@example.org", "amount": "20", "category": "books"}
    page = httpx.post(f"{unbuilt.url}/console/simulation", data=form, timeout=30)
    assert page.status_code == 503
    assert "cdp refresh" in text_of(page.text)
    assert unbuilt.row("select count(*) from raw.events") == (2,)


def test_with_write_keys_the_simulation_says_how_to_give_it_one(unbuilt: Service) -> None:
    with psycopg.connect(unbuilt.database) as connection:
        connection.execute(
            "insert into raw.write_keys (source, key_hash) values ('web', sha256('a'))"
        )
    form = {"email": "keyed@example.org", "amount": "20", "category": "books"}
    told = ""
    for _each in range(200):  # the service looks for new keys now and then
        page = httpx.post(f"{unbuilt.url}/console/simulation", data=form, timeout=30)
        told = text_of(page.text)
        if "write key" in told:
            break
    assert "CDP_CONSOLE_WRITE_KEY" in told


@pytest.fixture
def unbuilt(database: str, tmp_path: Path) -> Iterator[Service]:
    with running_platform(database, tmp_path, write_key_refresh_seconds=0.2) as service:
        yield service
