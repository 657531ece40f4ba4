"""Runs the migrations under a lock, so that two services may start at once."""

import psycopg
import sqlalchemy
from alembic import context

LOCK = 7_205_759_403  # any number of our own: one advisory lock per database


def run_migrations() -> None:
    url = context.config.attributes["url"]
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url),
        poolclass=sqlalchemy.NullPool,
    )
    with engine.connect() as connection:
        context.configure(
            connection=connection, version_table="cdp_schema_version", version_table_schema="public"
        )
        with context.begin_transaction():
            connection.execute(sqlalchemy.text(f"select pg_advisory_xact_lock({LOCK})"))
            context.run_migrations()


run_migrations()
