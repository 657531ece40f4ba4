"""`cdp doctor`: each finding says what to do, and looking changes nothing."""

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from cdp.cli import app
from cdp.doctor import Finding, examine
from cdp.settings import Settings


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(settings)}


def test_a_migrated_database_has_all_it_needs(database: str, tmp_path: Path) -> None:
    found = findings(Settings(DATABASE_URL=database, home=tmp_path))
    assert found["role cdp_ingest"] == Finding(
        "ok", "role cdp_ingest", "may do what its service needs"
    )
    assert found["role cdp_serving"].level == "ok"
    assert found["schema"].level == "ok"
    # The server of the tests is thrown away, and says so.
    assert found["durability"].level == "error"
    assert "fsync = on" in found["durability"].advice
    assert found["batch"].advice == "Run `cdp refresh`."


def test_what_is_wrong_is_told_with_what_to_do(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("revoke insert on decide.decisions from cdp_serving")
        connection.execute(
            "insert into raw.erasure_requests (mode, status) values ('both','failed')"
        )
        connection.execute("update public.cdp_schema_version set version_num = '0001'")
    found = findings(
        Settings(
            DATABASE_URL=database,
            ingest_database_url=make_conninfo(database, user="nobody_known"),
            home=tmp_path,
            host="0.0.0.0",  # noqa: S104 - nothing listens
        )
    )
    errors = {subject for subject, each in found.items() if each.level == "error"}
    assert errors >= {"role cdp_serving", "role cdp_ingest", "erasures", "write keys"}
    assert "CDP_INGEST_DATABASE_URL" in found["role cdp_ingest"].advice
    assert found["schema"].what.startswith("at 0001, not ")
    assert "CDP_ALERT_WEBHOOK_URL" in found["alerts"].advice
    assert all(each.advice for each in found.values() if each.level != "ok")


def test_more_days_than_the_server_has_locks_for_are_a_finding(
    database: str, tmp_path: Path
) -> None:
    settings = Settings(DATABASE_URL=database, home=tmp_path)
    assert findings(settings)["locks"].level == "ok"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "select raw.ensure_partition(date '2020-01-01' + number)"
            " from generate_series(1, 200) as number"
        )
    found = findings(settings)["locks"]
    assert found.level == "warning"
    assert "max_locks_per_transaction" in found.advice


def test_a_database_that_is_away_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "Check DATABASE_URL" in result.output


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found = findings(Settings(home=home, DATABASE_URL=None))
    assert found["PostgreSQL"].what == "not running"
    assert not home.exists()
