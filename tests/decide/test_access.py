"""Access tokens: scopes, revoking without a restart, and what is open to whom."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from cdp.access_tokens import (
    ACCESS_TOKENS,
    AccessTokenError,
    create_token,
    list_tokens,
    revoke_token,
)
from cdp.cli import app as command
from cdp.settings import SettingsError
from tests.decide.conftest import serving, serving_settings

# Method, address and the scope it needs. Without tables an admitted request gets 503 or 400.
ADDRESSES = [
    ("POST", "/decide", "decide"),
    ("GET", "/profiles", "read"),
    ("GET", "/profiles/00000000-0000-4000-8000-000000000000", "read"),
    ("GET", "/profiles/00000000-0000-4000-8000-000000000000/events", "read"),
    ("GET", "/audiences", "read"),
    ("GET", "/audiences/vip/export", "read"),
    ("POST", "/audiences/preview", "read"),
    ("POST", "/audiences", "manage"),
    ("DELETE", "/profiles/00000000-0000-4000-8000-000000000000", "manage"),
    ("GET", "/an/address/that/nobody/thought/of", "read"),
]


@pytest.fixture
def owner(database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


async def ask(client: httpx.AsyncClient, method: str, path: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = await client.request(method, path, headers=headers, content=b"{}")
    assert answer.json()["code"], answer.text
    return answer.status_code


async def test_a_token_allows_its_scopes_and_nothing_else(
    database: str, owner: psycopg.Connection[tuple[object, ...]]
) -> None:
    tokens = {scope: create_token(owner, scope, [scope]) for scope in ("decide", "read", "manage")}
    async with serving(database) as client:
        for method, path, needed in ADDRESSES:
            for scope, token in tokens.items():
                status = await ask(client, method, path, token)
                assert (status in (401, 403)) == (scope != needed), (method, path, scope, status)
            assert await ask(client, method, path, None) == 401
            assert await ask(client, method, path, f"{tokens[needed]}x") == 401
        for public in ("/health", "/ready", "/metrics", "/openapi/serving.json", "/console/login"):
            assert (await client.get(public)).status_code == 200
        refused = (await client.get("/metrics")).text
    assert 'cdp_serving_refused_total{code="forbidden"} ' in refused


async def test_a_revoked_token_is_refused_without_a_restart_and_nothing_opens(
    database: str, owner: psycopg.Connection[tuple[object, ...]]
) -> None:
    async with serving(database, write_key_refresh_seconds=0.05) as client:
        assert await ask(client, "POST", "/decide", None) == 400
        token = create_token(owner, "shop", ["decide"])
        await until(client, None, 401)
        assert await ask(client, "POST", "/decide", token) == 400
        [stored] = list_tokens(owner)
        assert stored.scopes == ["decide"]
        revoke_token(owner, stored.access_token_id)
        await until(client, token, 401)
        assert await ask(client, "POST", "/decide", None) == 401
    kept = owner.execute("select token_hash from raw.access_tokens").fetchall()
    assert token.encode() not in bytes(kept[0][0])  # type: ignore[call-overload]


async def test_tokens_are_read_again_after_the_database_refused_to_tell_them(
    database: str, owner: psycopg.Connection[tuple[object, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    token = create_token(owner, "shop", ["decide"])
    async with serving(database, write_key_refresh_seconds=0.05) as client:
        assert await ask(client, "POST", "/decide", token) == 400
        function = "function raw.active_access_tokens()"
        owner.execute(f"revoke execute on {function} from cdp_serving".encode())
        for _each in range(600):
            if "Access tokens stay as they are" in caplog.text:
                break
            await asyncio.sleep(0.05)
        assert "permission denied" in caplog.text
        owner.execute(f"grant execute on {function} to cdp_serving".encode())
        revoke_token(owner, list_tokens(owner)[0].access_token_id)
        await until(client, token, 401)


async def until(client: httpx.AsyncClient, token: str | None, status: int) -> None:
    for _each in range(600):
        if await ask(client, "POST", "/decide", token) == status:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"it never answered {status}")


async def test_a_token_beyond_its_rate_is_told_to_wait(
    database: str, owner: psycopg.Connection[tuple[object, ...]]
) -> None:
    eager, calm = (create_token(owner, name, ["decide"]) for name in ("eager", "calm"))
    async with serving(database, rate_limit_requests=1) as client:
        headers = {"Authorization": f"Bearer {eager}"}
        refused = None
        while refused is None:
            many = [client.post("/decide", headers=headers, content=b"{}") for _each in range(20)]
            answers = await asyncio.gather(*many)
            refused = next((each for each in answers if each.status_code == 429), None)
        assert refused.json()["code"] == "rate_limited"
        assert refused.headers["Retry-After"] == "1"
        assert await ask(client, "POST", "/decide", calm) == 400


def test_beyond_loopback_it_refuses_to_start_without_a_token(
    database: str, owner: psycopg.Connection[tuple[object, ...]], tmp_path: Path
) -> None:
    everywhere = serving_settings(database, host="0.0.0.0", home=tmp_path)  # noqa: S104
    with pytest.raises(SettingsError, match="cdp tokens create"):
        ACCESS_TOKENS.require_one(everywhere)
    environment = {"DATABASE_URL": database, "CDP_HOST": "0.0.0.0", "CDP_HOME": str(tmp_path)}  # noqa: S104
    ended = subprocess.run(
        [sys.executable, "-m", "dagster_project.serving"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    assert "cdp tokens create" in ended.stderr
    create_token(owner, "shop", ["read"])
    ACCESS_TOKENS.require_one(everywhere)


def test_a_token_without_a_known_scope_or_a_plain_name_is_refused(
    owner: psycopg.Connection[tuple[object, ...]],
) -> None:
    for name, scopes in (("shop", ["everything"]), ("shop", []), ("A shop", ["read"])):
        with pytest.raises(AccessTokenError, match="give"):
            create_token(owner, name, scopes)
    with pytest.raises(AccessTokenError, match="There is no access token 7"):
        revoke_token(owner, 7)


def test_the_command_makes_lists_and_revokes_tokens(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    run = CliRunner()
    made = run.invoke(command, ["tokens", "create", "crm-sync", "--scopes", "read, manage"])
    assert made.output.startswith("at_"), made.output
    listed = run.invoke(command, ["tokens", "list"]).output
    assert "crm-sync" in listed
    assert "manage, read" in listed
    assert made.output.strip() not in listed
    assert "Revoked token 1 of crm-sync" in run.invoke(command, ["tokens", "revoke", "1"]).output
