"""Where the database is, who connects to it as what, and its schema.

Three roles: the owner (migrations, dbt, Dagster), `cdp_ingest` (inserts into raw, nothing else)
and `cdp_serving` (reads what was computed, writes requests and logs). On the embedded server they
are logins; elsewhere a service without a login of its own connects as the owner and gives up its
rights.
"""

import getpass
from pathlib import Path
from typing import Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdp.postgres import EmbeddedPostgres
from cdp.rebase import rebase_restored
from cdp.settings import Settings

Role = Literal["owner", "ingest", "serving"]
MIGRATIONS = Path(__file__).parent / "migrations"


def embedded(settings: Settings) -> EmbeddedPostgres | None:
    """The embedded server, or None where DATABASE_URL names another one."""
    return None if settings.database_url else EmbeddedPostgres(settings.home)


def database_url(settings: Settings, role: Role = "owner") -> str:
    """Connection string (libpq form) of a role. The server need not run."""
    own_login = {
        "ingest": settings.ingest_database_url,
        "serving": settings.serving_database_url,
    }.get(role)
    if own_login:
        return make_conninfo(own_login, application_name=f"cdp_{role}")
    server = embedded(settings)
    if server:
        user = "cdp" if role == "owner" else f"cdp_{role}"
        return make_conninfo(server.url(user=user), application_name=f"cdp_{role}")
    reduced = {} if role == "owner" else {"options": f"-c role=cdp_{role}"}
    return make_conninfo(settings.database_url or "", application_name=f"cdp_{role}", **reduced)


def start_database(settings: Settings) -> str:
    """Start the embedded server unless it runs, migrate the schema, return the owner's URL.

    What was restored from another cluster gets landing ids of this one.

    Raises PostgresError when the embedded server cannot start, psycopg.OperationalError when
    DATABASE_URL cannot be reached.
    """
    server = embedded(settings)
    if server:
        server.start()
    url = database_url(settings)
    migrate(url)
    rebase_restored(url)
    return url


def migrate(url: str) -> None:
    """Bring the raw schema and the roles to the newest version. Several processes may call it."""
    # Slow to import, and needed by none of the programs that only connect.
    import alembic.command  # noqa: PLC0415
    import alembic.config  # noqa: PLC0415

    if _current_revision(url) == newest_revision():
        return
    config = alembic.config.Config(attributes={"url": url})
    config.set_main_option("script_location", str(MIGRATIONS))
    alembic.command.upgrade(config, "head")


def newest_revision() -> str | None:
    """The version of the raw schema that this program brings."""
    import alembic.script  # noqa: PLC0415 - slow, as above

    return alembic.script.ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _current_revision(url: str) -> str | None:
    with psycopg.connect(url) as connection:
        known = connection.execute("select to_regclass('public.cdp_schema_version')").fetchone()
        if known is None or known[0] is None:
            return None
        row = connection.execute("select version_num from public.cdp_schema_version").fetchone()
    return str(row[0]) if row else None


def dbt_environment(url: str) -> dict[str, str]:
    """The variables that `dbt_project/profiles.yml` reads, for the database behind `url`."""
    parts = conninfo_to_dict(url)
    return {
        "CDP_ENGINE": "postgres",
        "CDP_PG_HOST": str(parts.get("host") or "localhost"),
        "CDP_PG_PORT": str(parts.get("port") or 5432),
        "CDP_PG_USER": str(parts.get("user") or getpass.getuser()),
        "CDP_PG_PASSWORD": str(parts.get("password") or ""),
        "CDP_PG_DATABASE": str(parts.get("dbname") or ""),
        "CDP_PG_SSLMODE": str(parts.get("sslmode") or "prefer"),
    }
