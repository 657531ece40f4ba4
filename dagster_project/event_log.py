"""Dagster's event log in SQLite files, as Dagster keeps it, through connections that stay open."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dagster import EventLogEntry, StringSource
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, QueuePool, create_engine

# Each run has a file of its own; the web server looks into many.
KEPT_FILES = 8


class EventLog(SqliteEventLogStorage):
    """What dagster.yaml names as the event_log_storage.

    Dagster's own class makes an SQLAlchemy engine and opens the file anew for each event, and the
    last one to close a file in WAL mode also writes its log back. A refresh writes over 400 events:
    benchmarks/operate/event_log.py says what that costs. The files are the same, so either class
    goes on with what the other has written.
    """

    def __init__(self, dagster_home: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._found_tables: set[str] = set()
        folder = Path(dagster_home).expanduser() / "history" / "runs"
        super().__init__(str(folder), inst_data)

    @classmethod
    def config_type(cls) -> Any:
        return {"dagster_home": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def store_event(self, event: EventLogEntry) -> None:
        """As Dagster's, and seen by who watches the run's file, as the pages of a running one do.

        In WAL mode a commit changes another file; this one changed when it was closed.
        """
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))

    def has_table(self, table_name: str) -> bool:
        """Asked before each check and each materialisation; Dagster never drops a table."""
        if table_name not in self._found_tables and super().has_table(table_name):
            self._found_tables.add(table_name)
        return table_name in self._found_tables

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _engine(self, shard: str) -> Engine:
        """The engine of a file, which keeps one connection; only while `_db_lock` is held."""
        if shard not in self._engines:
            if len(self._engines) == KEPT_FILES:
                _name, oldest = self._engines.popitem(last=False)
                oldest.dispose()
            self._engines[shard] = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,  # what Dagster opens beside it to set a new file up is closed again
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def wipe(self) -> None:
        self._close()
        super().wipe()

    def dispose(self) -> None:
        super().dispose()
        self._close()

    def _close(self) -> None:
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
