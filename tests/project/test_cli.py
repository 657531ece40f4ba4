"""The command `cdp` away from the main job: empty states, errors in words, reset."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdp.cli import app
from cdp.postgres import EmbeddedPostgres

runner = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CDP_HOME", str(folder))
    monkeypatch.setenv("CDP_PORT", "1")
    monkeypatch.setenv("CDP_DAGSTER_PORT", "1")
    return folder


def test_status_without_a_database_says_how_to_start_it(home: Path) -> None:
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 0
    assert "not running" in result.output
    assert "make up" in result.output
    assert not home.exists(), "asking must not create anything"


def test_reset_asks_before_it_removes(home: Path) -> None:
    home.mkdir()
    (home / "kept").touch()
    assert runner.invoke(app, ["reset"], input="n\n").exit_code == 1
    assert (home / "kept").exists()
    assert runner.invoke(app, ["reset"], input="y\n").exit_code == 0
    assert not home.exists()


def test_reset_of_nothing_says_so(home: Path) -> None:
    assert "Nothing to remove" in runner.invoke(app, ["reset", "--yes"]).output


def test_reset_never_drops_what_it_did_not_create(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/else")
    completed = _run("reset", "--yes")
    assert completed.returncode == 1
    assert "never drops what it did not create" in " ".join(completed.stderr.split())


def test_psql_hands_every_argument_on(home: Path) -> None:
    try:
        completed = _run("psql", "-At", "-c", "select count(*) from raw.events")
        assert completed.returncode == 0, completed.stderr
        assert completed.stdout.splitlines()[-1] == "0"
        status = _run("status")
        assert "never refreshed" in status.stdout
        assert "cdp refresh" in status.stdout
    finally:
        EmbeddedPostgres(home).stop()


def test_a_wrong_setting_is_one_line_and_no_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_PORT", "many")
    completed = _run("status")
    assert completed.returncode == 1
    assert "CDP_PORT is 'many'" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_a_database_that_is_away_is_told_in_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    completed = _run("refresh")
    assert completed.returncode == 1
    assert "The database did not answer" in completed.stderr
    assert "DATABASE_URL" in completed.stderr
    assert "Traceback" not in completed.stderr


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cdp", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
