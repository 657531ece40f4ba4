"""Every setting of the platform. This is the only module that reads the environment.

A setting is the upper-cased field name with the prefix `CDP_`, for example `CDP_PORT`; only
`DATABASE_URL` has no prefix, because hosting platforms set it under that name. `.env` in the
project folder is read too; the environment wins. `.env.example` lists them all, and a test keeps
it true.
"""

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import psycopg
from dotenv import dotenv_values
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cdp.errors import UserError

PROJECT_DIR = Path(__file__).resolve().parent.parent
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class SettingsError(UserError, ValueError):
    """A setting has a value that cannot be used. The message names it and says what to give."""


class Settings(BaseSettings):
    """Settings with their defaults: a single machine, everything on loopback."""

    model_config = SettingsConfigDict(
        env_prefix="CDP_", env_file=PROJECT_DIR / ".env", extra="ignore", frozen=True
    )

    home: Path = Field(
        default=PROJECT_DIR / ".cdp",
        validate_default=True,
        description="Folder of all local state: the embedded database, Dagster's runs, exports.",
    )
    database_url: str | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL 15 or later to use instead of the embedded one, as its owner.",
    )
    ingest_database_url: str | None = Field(
        default=None,
        description="Login of the write side, a member of cdp_ingest. Default: from DATABASE_URL.",
    )
    serving_database_url: str | None = Field(
        default=None,
        description="Login of the read side, a member of cdp_serving. Default: from DATABASE_URL.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the HTTP services listen on.")
    port: int = Field(default=3000, ge=1, le=65535, description="Port of the HTTP services.")
    dagster_port: int = Field(default=3001, ge=1, le=65535, description="Port of the Dagster UI.")
    dagster_url: str | None = Field(
        default=None,
        description="Where the read side reaches Dagster. Default: this machine, CDP_DAGSTER_PORT.",
    )
    dagster_public_url: str | None = Field(
        default=None,
        description="Address of the Dagster UI in answers. Default: that of CDP_DAGSTER_URL.",
    )
    refresh_cron: str = Field(
        default="*/15 * * * *", description="When the schedule starts the job `refresh` (UTC)."
    )
    dagster_database_url: str | None = Field(
        default=None,
        description="PostgreSQL URL for Dagster's own state. Default: SQLite files in CDP_HOME.",
    )
    ingest_url: str | None = Field(
        default=None,
        description="Where the console reaches the write side. Default: this machine, CDP_PORT.",
    )
    console_write_key: str | None = Field(
        default=None,
        description="Write key of the console's checkout simulation, once any key was made.",
    )
    alert_webhook_url: str | None = Field(
        default=None, description="Address that a failed Dagster run is posted to, as JSON."
    )
    private_webhooks: bool = Field(
        default=False,
        description="Whether webhooks may go to private, link-local and loopback addresses.",
    )
    export_dir: Path | None = Field(
        default=None, description="Folder of the audience CSV files. Default: exports/ in CDP_HOME."
    )

    dbt_threads: int | None = Field(
        default=None,
        ge=1,
        description=(
            "dbt models at a time. Default: one per processor but one, at most 4; on BigQuery 4."
        ),
    )

    # The warehouse that computes. Names without CDP_ are those that Google's tools and hosts use.
    engine: Literal["postgres", "bigquery"] = Field(
        default="postgres",
        description="Where dbt computes: postgres, or bigquery with PostgreSQL around it.",
    )
    bigquery_project_id: str | None = Field(
        default=None,
        validation_alias="BIGQUERY_PROJECT_ID",
        pattern="^[a-z][a-z0-9.:-]*$",
        description="Google Cloud project of the BigQuery jobs and data sets.",
    )
    bigquery_dataset: str = Field(
        default="cdp",
        validation_alias="BIGQUERY_DATASET",
        pattern="^[A-Za-z][A-Za-z0-9_]{0,99}$",
        description="Data set of exported tables; the stages' begin with it: cdp_raw, cdp_unify.",
    )
    bigquery_table_profiles: str = Field(
        default="profiles",
        validation_alias="BIGQUERY_TABLE_PROFILES",
        description="Name of the exported table of profiles.",
    )
    bigquery_location: str = Field(
        default="US",
        validation_alias="BIGQUERY_LOCATION",
        description="Where data sets are created: a region such as europe-west3, or US or EU.",
    )
    bigquery_maximum_bytes_billed: int = Field(
        default=10**12,
        ge=10**7,
        validation_alias="BIGQUERY_MAXIMUM_BYTES_BILLED",
        description="Bytes that one statement may scan; BigQuery refuses one that would scan more.",
    )
    bigquery_api_endpoint: str | None = Field(
        default=None,
        validation_alias="BIGQUERY_API_ENDPOINT",
        pattern="^https?://",
        description="Address of an emulator, which needs no credentials. Default: Google's own.",
    )
    google_application_credentials: Path | None = Field(
        default=None,
        validation_alias="GOOGLE_APPLICATION_CREDENTIALS",
        description="Key file of a service account. Default: the login of gcloud or the machine.",
    )

    # Collect: the limits of the reference API (Segment's HTTP tracking API) unless set otherwise.
    max_event_bytes: int = Field(default=32 * 1024, ge=1024, description="Largest event, in bytes.")
    max_batch_bytes: int = Field(
        default=500 * 1024, ge=1024, description="Largest request body, in bytes, after inflating."
    )
    max_batch_events: int = Field(default=2500, ge=1, description="Most events in one batch.")
    queue_events: int = Field(
        default=20_000,
        ge=1,
        description="Events that may wait for their commit; beyond it requests are answered 503.",
    )
    queue_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1024,
        description="Bytes that may wait for their commit; beyond it requests are answered 503.",
    )
    max_body_bytes: int = Field(
        default=5 * 1024 * 1024,
        ge=1024,
        description="Largest body that is read or kept, and batch with its context in each event.",
    )
    reading_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1024,
        description="Bytes of unfinished bodies held at once; beyond it requests are answered 503.",
    )
    body_timeout_seconds: float = Field(
        default=30, gt=0, description="How long a client may take to send its body."
    )
    commit_timeout_seconds: float = Field(
        default=10, gt=0, description="How long a commit may take before its requests get 503."
    )
    max_identifier_bytes: int = Field(
        default=512,
        ge=64,
        le=2000,
        description="Longest id, e-mail, phone or event name, in bytes.",
    )
    write_key_refresh_seconds: float = Field(
        default=2,
        gt=0,
        description="How soon a created or revoked write key or access token takes effect.",
    )
    rate_limit_events: int = Field(
        default=0,
        ge=0,
        description="Events per second, source and worker; beyond it 429. 0 means no limit.",
    )
    ingest_workers: int = Field(
        default=1, ge=1, description="Worker processes of the write side, each with its own writer."
    )
    raw_retention_days: int | None = Field(
        default=None, ge=1, description="Days that raw events are kept. Default: for ever."
    )
    raw_retention_by_source: str = Field(
        default="", description="Sources with a term of their own, in days: web=30,shop=365."
    )
    run_retention_days: int = Field(
        default=90, ge=1, description="Days that finished Dagster runs and their logs are kept."
    )
    alert_lag_minutes: int = Field(
        default=60,
        ge=1,
        description="Somebody is told when an event has waited so long to be refreshed.",
    )
    future_tolerance_seconds: int = Field(
        default=300,
        ge=0,
        description="How far occurred_at may lie after received_at before it is set back to it.",
    )
    clock_skew_seconds: int = Field(
        default=60,
        ge=0,
        description="Device clocks wrong by more than this are corrected by sentAt.",
    )

    # Decide and the rest of the read side.
    serving_connections: int = Field(
        default=8, ge=2, description="Database connections of the read side."
    )
    serving_timeout_ms: int = Field(
        default=2000,
        ge=10,
        description="How long a statement of the read side may take before its request gets 503.",
    )
    rate_limit_requests: int = Field(
        default=0,
        ge=0,
        description="Requests per second and access token; beyond it 429. 0 means no limit.",
    )
    degraded_decisions: bool = Field(
        default=False,
        description=(
            "Answer POST /decide from the batch, marked degraded, when it takes too long or no "
            "connection is free; over two connections more."
        ),
    )
    max_decision_bytes: int = Field(
        default=64 * 1024, ge=1024, description="Largest body of POST /decide, in bytes."
    )
    decision_log_rows: int = Field(
        default=20_000,
        ge=1,
        description="Decisions that may wait to be logged; beyond it they are counted as lost.",
    )

    @field_validator("database_url", "ingest_database_url", "serving_database_url")
    @classmethod
    def _is_postgresql(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                conninfo_to_dict(value)
            except psycopg.ProgrammingError:
                raise ValueError("give postgresql://user:password@host:5432/name") from None
        return value or None

    @field_validator("home", "export_dir", "google_application_credentials", mode="before")
    @classmethod
    def _is_one_place(cls, value: str | Path | None, info: ValidationInfo) -> Path | None:
        """The same for every process: dbt, Dagster and a terminal each work in another folder."""
        given = str(value or "").strip() or cls.model_fields[str(info.field_name)].default
        try:
            return (PROJECT_DIR / Path(given).expanduser()).resolve() if given else None
        except RuntimeError:
            raise ValueError("give a path that begins with /, or with ~/ for your home") from None

    @field_validator("host")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if re.fullmatch(r"[0-9.]+|.*:.*", value):
            try:
                ipaddress.ip_address(value)
            except ValueError:
                raise ValueError("give an address such as 127.0.0.1 or 0.0.0.0") from None
        return value

    @field_validator("refresh_cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        if not valid_cron(value):
            raise ValueError("give five cron fields such as */15 * * * *")
        return value

    @field_validator("raw_retention_by_source")
    @classmethod
    def _is_days_by_source(cls, value: str) -> str:
        if not re.fullmatch(r"(\s*[a-z0-9][a-z0-9_-]*=[1-9][0-9]{0,5}\s*(,(?!\s*$)|$))*", value):
            raise ValueError("give sources and days such as web=30,shop=365")
        return value

    @cached_property
    def source_retention_days(self) -> dict[str, int]:
        """Days that the raw events of a source are kept, where it has a term of its own."""
        pairs = (pair.split("=") for pair in self.raw_retention_by_source.split(",") if pair)
        return {source.strip(): int(days) for source, days in pairs}

    @cached_property
    def exports(self) -> Path:
        """Folder of the audience CSV files."""
        return self.export_dir or self.home / "exports"

    @cached_property
    def dagster(self) -> str:
        """Where Dagster answers, without a slash at the end."""
        return (self.dagster_url or f"http://localhost:{self.dagster_port}").rstrip("/")

    @cached_property
    def dagster_for_people(self) -> str:
        """Where people open the Dagster UI, without a slash at the end."""
        return (self.dagster_public_url or self.dagster).rstrip("/")

    @property
    def listens_on_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS


def valid_cron(value: str) -> bool:
    """Whether a text has the form of a cron expression: five fields, or a name such as @daily."""
    five_fields = r"[0-9*/,\-]+( [0-9A-Za-z*/,#\-]+){4}"
    return bool(re.fullmatch(rf"{five_fields}|@(hourly|daily|weekly|monthly|yearly)", value))


def read_secret(name: str) -> str | None:
    """The variable `name` of the environment, else of `.env`: what a seed refers to by its name."""
    return os.environ.get(name) or dotenv_values(PROJECT_DIR / ".env").get(name) or None


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and `.env`; `overrides` win over both.

    Raises SettingsError with one line per wrong value, naming the setting as the user typed it.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem) for problem in error.errors())) from None


def environment_variable(name: str) -> str:
    """A variable that is a library's and no setting: set by environment_set in this or a parent."""
    return os.environ[name]


@contextlib.contextmanager
def environment_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a library in this process that takes its settings in no other way (dbt)."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _explain(problem: Any) -> str:
    field = str(problem["loc"][0]) if problem["loc"] else "settings"
    name = field if field.isupper() else f"CDP_{field.upper()}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    # A connection string holds a password.
    given = "not usable" if name.endswith("DATABASE_URL") else repr(problem.get("input"))
    return f"{name} is {given}: {message}."
