"""What runs, how far the batch is behind what has landed, and what was rejected."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import psycopg

from cdp.database import database_url
from cdp.service import base_url, instance_name, running_instance
from cdp.settings import Settings


@dataclass(frozen=True)
class Status:
    """A reading of the platform. Counts are exact; instants are UTC.

    `as_of` is None before the first refresh. `pending_events` have landed after it and are not in
    the batch tables; `pending_since` is when the first of them was received. An open transaction
    holds the batch back: `oldest_transaction_seconds` is the age of the oldest one.
    """

    database: str
    service: str | None
    dagster: str | None
    landed_events: int = 0
    pending_events: int = 0
    pending_since: datetime | None = None
    as_of: datetime | None = None
    oldest_transaction_seconds: float = 0.0
    rejected: dict[str, int] = field(default_factory=dict)
    profiles: int | None = None
    audiences: dict[str, int] = field(default_factory=dict)


PENDING = """
select count(*), min(received_at)
from raw.events
where xid >= %s::text::xid8
"""
OLDEST_TRANSACTION = """
select coalesce(extract(epoch from max(clock_timestamp() - xact_start)), 0)::float8
from pg_stat_activity
where backend_xid is not null and pid <> pg_backend_pid()
"""
REJECTED = """
select code, count(*)
from raw.rejected_events
where replayed_at is null
group by code
order by count(*) desc, code
"""
AUDIENCES = """
select audience_key, member_count
from segment.audiences
where is_enabled
order by audience_key
"""


def read_status(settings: Settings) -> Status:
    """Read the status. The database has to be reachable; see `is_database_up`."""
    with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
        version = connection.execute("show server_version").fetchone()
        facts: dict[str, Any] = {
            "database": f"PostgreSQL {version[0]}" if version else "PostgreSQL",
            "service": running_service_url(settings),
            "dagster": dagster_url(settings),
            "landed_events": _number(connection, "select count(*) from raw.events"),
            "rejected": dict(connection.execute(REJECTED).fetchall()),
            "oldest_transaction_seconds": _number(connection, OLDEST_TRANSACTION),
        }
        watermark = None
        if _exists(connection, "decide.watermark"):
            query = "select to_xid::text, as_of from decide.watermark"
            watermark = connection.execute(query).fetchone()
        if watermark:
            facts["as_of"] = watermark[1]
            facts["profiles"] = _number(connection, "select count(*) from unify.profiles")
            facts["audiences"] = dict(connection.execute(AUDIENCES).fetchall())
        pending = connection.execute(PENDING, [watermark[0] if watermark else "0"]).fetchone()
        if pending:
            facts["pending_events"], facts["pending_since"] = pending
    return Status(**facts)


def is_database_up(settings: Settings) -> bool:
    """Whether the database accepts a connection now."""
    try:
        psycopg.connect(database_url(settings), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def running_service_url(settings: Settings) -> str | None:
    """Address of this project's HTTP service, or None while it does not run."""
    is_ours = running_instance(settings) == instance_name(settings)
    return base_url(settings) if is_ours else None


def dagster_url(settings: Settings) -> str | None:
    """Address of the Dagster UI, or None while it does not answer."""
    url = f"http://localhost:{settings.dagster_port}"
    try:
        return url if "dagster_webserver_version" in httpx.get(f"{url}/server_info").text else None
    except httpx.HTTPError:
        return None


def _number(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else 0


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("select to_regclass(%s)", [table]).fetchone()
    return row is not None and row[0] is not None
