"""With access tokens the console asks for one, and allows what it allows."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql
from starlette.routing import BaseRoute

from cdp.access_tokens import create_token
from cdp.settings import Settings
from dagster_project.serving.app import create_app
from tests.collect.service import Service
from tests.console.platform import running_platform

HTMX = {"HX-Request": "true"}
PUBLIC = {
    "/health",
    "/ready",
    "/metrics",
    "/openapi/serving.json",
    "/console/login",
    "/console/logout",
    "/console/static",
}
# What fits the type of a parameter in an address.
PARAMETERS = {"int": "1", "uuid": "00000000-0000-4000-8000-000000000000", "str": "ada"}
PURCHASE = {"user_id": "ada", "amount": "150", "category": "books"}


@pytest.fixture
def tokens(database: str) -> dict[str, str]:
    """A token that may do everything, one that may not decide, and one that may only read."""
    with psycopg.connect(database) as connection:
        return {
            "all": create_token(connection, "all", ["decide", "read", "manage"]),
            "manager": create_token(connection, "manager", ["read", "manage"]),
            "reader": create_token(connection, "reader", ["read"]),
        }


@pytest.fixture
def service(database: str, tokens: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    with running_platform(database, tmp_path, dagster_port=1) as running:
        yield running


@contextlib.contextmanager
def sign_in(service: Service, token: str) -> Iterator[httpx.Client]:
    """A browser that has signed in, without the browser."""
    with httpx.Client(base_url=service.url, timeout=30) as viewer:
        form = {"token": token, "next": "/console/audiences"}
        answer = viewer.post("/console/login", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/audiences")
        yield viewer


@pytest.mark.parametrize("path", ["/", "/console/profiles", "/console/define", "/console/pipeline"])
def test_without_a_token_every_page_leads_to_the_sign_in(service: Service, path: str) -> None:
    answer = httpx.get(service.url + path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/login?next=")
    part = httpx.get(f"{service.url}/console/pipeline/freshness", headers=HTMX)
    assert part.headers["hx-redirect"].startswith("/console/login")
    assert httpx.get(f"{service.url}/console/login").status_code == 200
    assert httpx.get(f"{service.url}/console/static/console.css").status_code == 200


def test_without_a_token_no_address_answers_and_none_writes(service: Service) -> None:
    addresses = sorted(addresses_of(create_app(Settings(DATABASE_URL=service.database)).routes))
    assert {path for _method, path in addresses} > PUBLIC
    before = stored(service)
    form = PURCHASE | {"job": "refresh", "audience_key": "a", "name": "A", "definition": "{"}
    for method, path in addresses:
        if path in PUBLIC:
            continue
        for headers in ({}, HTMX):
            body = form if method == "POST" else None
            answer = httpx.request(method, service.url + path, data=body, headers=headers)
            led = answer.headers.get("location") or answer.headers.get("hx-redirect") or ""
            is_refused = answer.status_code in (401, 405) or led.startswith("/console/login?")
            assert is_refused, (method, path, answer.status_code)
    assert stored(service) == before


def addresses_of(routes: list[BaseRoute], above: str = "") -> Iterator[tuple[str, str]]:
    """Method and address of every route, with values for its parameters."""
    for route in routes:
        path = above + getattr(route, "path", "")
        # FastAPI keeps a router that was included as one.
        if inside := getattr(getattr(route, "original_router", route), "routes", None):
            yield from addresses_of(inside, path)
            continue
        path = re.sub(
            r"\{(\w+)(?::(\w+))?\}",
            lambda found: PARAMETERS[found[2] or ("uuid" if found[1].endswith("_id") else "str")],
            path,
        )
        methods = getattr(route, "methods", None) or {"GET", "POST"}
        for method in methods - {"HEAD"}:
            yield method, path


def stored(service: Service) -> dict[str, int]:
    """How many rows each table holds."""
    tables = service.rows(
        "select schemaname, tablename from pg_tables"
        " where schemaname not in ('pg_catalog', 'information_schema')"
    )
    with psycopg.connect(service.database) as connection:
        return {
            f"{schema}.{table}": connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))
            ).fetchall()[0][0]
            for schema, table in tables
        }


def test_a_wrong_token_is_refused_in_words(service: Service) -> None:
    answer = httpx.post(f"{service.url}/console/login", data={"token": "at_guessed"})
    assert answer.status_code == 401
    assert "No such token is active" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_token_is_kept_where_no_script_and_no_other_site_reaches_it(
    service: Service, tokens: dict[str, str]
) -> None:
    answer = httpx.post(f"{service.url}/console/login", data={"token": tokens["reader"]})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize(
    "target", ["https://elsewhere.example/", "//elsewhere.example/console/", "/logout", "console/x"]
)
def test_signing_in_leads_to_no_other_site(
    service: Service, tokens: dict[str, str], target: str
) -> None:
    form = {"token": tokens["reader"], "next": target}
    answer = httpx.post(f"{service.url}/console/login", data=form)
    assert answer.headers["location"] == "/"


def test_who_signed_in_sees_the_pages_and_the_links_on_them(
    service: Service, tokens: dict[str, str]
) -> None:
    with sign_in(service, tokens["reader"]) as viewer:
        for path in ("/", "/console/profiles", "/console/audiences", "/console/pipeline"):
            page = viewer.get(path)
            assert page.status_code == 200, path
            assert "Sign out" in page.text
        # Not built yet, but let in: what a link on a page leads to.
        assert viewer.get("/audiences").status_code == 503
        signed_out = viewer.post("/console/logout")
        assert signed_out.status_code == 303
        assert viewer.get("/console/profiles").status_code == 303


def test_who_may_not_decide_collects_nothing(service: Service, tokens: dict[str, str]) -> None:
    with sign_in(service, tokens["manager"]) as viewer:
        bought = viewer.post("/console/simulation", data=PURCHASE)
        assert (bought.status_code, "does not allow decide" in bought.text) == (403, True)
    assert service.row("select count(*) from raw.events") == (0,)


def test_who_may_do_everything_can_buy(service: Service, tokens: dict[str, str]) -> None:
    with sign_in(service, tokens["all"]) as viewer:
        bought = viewer.post("/console/simulation", data=PURCHASE, headers=HTMX)
        assert bought.status_code == 200
    service.wait_for_events(1)


def test_the_cookie_changes_nothing_by_itself(service: Service, tokens: dict[str, str]) -> None:
    with sign_in(service, tokens["all"]) as viewer:
        body = {"audience_key": "a", "name": "A", "definition": {"min_total_spend": 1}}
        assert viewer.post("/audiences", json=body).status_code == 401


def test_who_may_only_read_changes_nothing(service: Service, tokens: dict[str, str]) -> None:
    with sign_in(service, tokens["reader"]) as viewer:
        for headers in ({}, HTMX):
            bought = viewer.post("/console/simulation", data=PURCHASE, headers=headers)
            assert bought.status_code == 403
            assert "does not allow manage" in bought.text
        assert service.row("select count(*) from raw.events") == (0,)
        started = viewer.post("/console/runs", data={"job": "refresh"}, headers=HTMX)
        assert started.status_code == 403
        assert "does not allow manage" in started.text
        form = {"audience_key": "a", "name": "A", "definition": '{"min_total_spend": 1}'}
        refused = viewer.post("/console/define", data=form)
        assert refused.status_code == 400
        assert "does not allow manage" in refused.text
