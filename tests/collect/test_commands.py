"""`cdp keys`, `cdp load` and `cdp replay-rejected` as a person runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cdp.hashed_secrets import hash_secret
from tests.collect.service import create_source, running


def cdp(database: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a database."""
    return subprocess.run(
        [sys.executable, "-m", "cdp", *arguments],
        env=os.environ | {"DATABASE_URL": database, "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_key_is_made_shown_once_listed_and_revoked(database: str) -> None:
    created = cdp(database, "keys", "create", "web")
    key = created.stdout.strip()
    assert created.returncode == 0
    assert len(hash_secret(key)) == 32

    with running(database, write_key_refresh_seconds=0.1) as service:
        sent = service.post("/v1/page", {}, headers={"X-Write-Key": key})
        assert sent.status_code == 200

    listed = cdp(database, "keys", "list").stdout
    assert "web" in listed
    assert key not in listed
    revoked = cdp(database, "keys", "revoke", "1")
    assert "Revoked key 1 of web" in revoked.stdout


def test_a_mistake_is_a_message_not_a_traceback(database: str) -> None:
    for arguments, message in (
        (("keys", "create", "My Web"), 'The source is "My Web"'),
        (("keys", "revoke", "7"), "There is no write key 7"),
    ):
        failed = cdp(database, *arguments)
        assert failed.returncode == 1
        assert message in failed.stderr
        assert "Traceback" not in failed.stderr


def test_a_file_is_loaded_into_a_service_elsewhere(database: str, tmp_path: Path) -> None:
    file = tmp_path / "history.ndjson"
    file.write_text(json.dumps({"type": "page"}) + "\nnot json\n")
    key = create_source(database, "history")
    with running(database) as service:
        home = {"CDP_HOME": str(tmp_path / "home")}
        refused = cdp(database, "load", str(file), "--url", service.url, **home)
        assert (refused.returncode, "wants a write key" in refused.stderr) == (1, True)

        loaded = cdp(database, "load", str(file), "--url", service.url, "--write-key", key, **home)

        assert loaded.returncode == 0
        assert "history.ndjson: 1 accepted, 1 rejected" in loaded.stdout
        assert "line 2: " in loaded.stdout
        assert service.row("select source from raw.events") == ("history",)

        replayed = cdp(database, "replay-rejected")
        assert "0 replayed with 0 events, 1 still rejected" in replayed.stdout


def test_the_write_side_imports_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys, ingest.server;"
        "print(*{'alembic', 'sqlalchemy', 'dagster', 'dbt', 'pandas'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
