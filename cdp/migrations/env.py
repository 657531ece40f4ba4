"""Runs the migrations under a lock, so that two services may start at once."""

from alembic import context
from sqlalchemy import text

from cdp.database import sqlalchemy_engine

LOCK = 7_205_759_403  # any number of our own: one advisory lock per database


def run_migrations() -> None:
    engine = sqlalchemy_engine(context.config.attributes["url"])
    with engine.connect() as connection:
        context.configure(
            connection=connection, version_table="cdp_schema_version", version_table_schema="public"
        )
        with context.begin_transaction():
            connection.execute(text(f"select pg_advisory_xact_lock({LOCK})"))
            context.run_migrations()


run_migrations()
