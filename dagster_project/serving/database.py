"""The read side's connections: prepared statements, and what happens while dbt replaces tables."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, errors
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from cdp.database import database_url
from cdp.json_tokens import MAX_DEPTH, cut_below
from cdp.settings import Settings
from dagster_project.serving.errors import RequestError, unavailable

log = logging.getLogger(__name__)

# dbt swaps a table by renaming: a statement that was looking its name up can miss it once, and one
# that was prepared before can find columns of another type.
REPLACED = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.UndefinedObject,
    errors.FeatureNotSupported,
)
# More than PostgreSQL takes in one statement. To psycopg they are operational errors.
TOO_MUCH = (errors.ProgramLimitExceeded, errors.StatementTooComplex)
WAIT_SECONDS = 2.0
# Planning what the function runs takes longer than many decisions: not while somebody waits.
WARM_UP = "select from decide.profile_now(null, '', null, null, null, now())"
# Codes of a RequestError: a statement that ran out of time, no answer at all, one that was refused.
SLOW, AWAY, REFUSED = "database_slow", "database_unavailable", "database_refused"
Row = dict[str, Any]


class Database:
    """A pool of connections in the role `cdp_serving`. Every method raises RequestError alone:
    503 while the database is away, busy, or has not been built, 500 for what it refuses.
    """

    def __init__(self, settings: Settings, connections: int | None = None) -> None:
        """`connections` is how many it keeps, in place of the setting."""
        self._timeout_ms = settings.serving_timeout_ms
        count = connections or settings.serving_connections
        self._pool = AsyncConnectionPool(
            database_url(settings, "serving"),
            min_size=count,
            max_size=count,
            timeout=WAIT_SECONDS,
            kwargs={"autocommit": True},
            configure=self._configure,
            open=False,
        )

    async def open(self) -> None:
        """Begin to connect. The database may still be away."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close()

    async def rows(
        self, query: str, parameters: Sequence[Any] = (), wait_seconds: float = WAIT_SECONDS
    ) -> list[Row]:
        """Run one statement with parameters $1, $2, ...; it stays prepared on its connection.

        It waits at most `wait_seconds` for a connection.
        """
        with answered():
            try:
                return await self._rows(query, parameters, wait_seconds)
            except (errors.QueryCanceled, PoolTimeout, *TOO_MUCH):
                raise
            except (*REPLACED, psycopg.OperationalError):
                await self._pool.check()
                return await self._rows(query, parameters, wait_seconds)

    async def row(self, query: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        found = await self.rows(query, parameters)
        return found[0] if found else None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A connection for as long as the block runs, for what is not one statement."""
        with answered():
            async with self._pool.connection() as connection:
                yield connection

    async def _configure(self, connection: AsyncConnection[TupleRow]) -> None:
        set_json_loads(_load_json, connection)
        # One plan for all: planning the decision's statement costs more than running it.
        await connection.execute(
            f"set statement_timeout = {self._timeout_ms}; set plan_cache_mode = force_generic_plan;"
            " set jit = off; set time zone 'UTC'"
        )
        with suppress(psycopg.ProgrammingError, errors.QueryCanceled):  # nothing is built yet
            await connection.execute(WARM_UP)

    async def _rows(self, query: str, parameters: Sequence[Any], wait_seconds: float) -> list[Row]:
        async with self._pool.connection(wait_seconds) as connection:
            cursor = AsyncRawCursor(connection, row_factory=dict_row)
            try:
                await cursor.execute(query, parameters, prepare=True)
            except REPLACED:
                # What it has prepared is out of date. `deallocate all` would do, but psycopg takes
                # notice of that only the first time on a connection.
                await connection.close()
                raise
            return await cursor.fetchall()


@contextmanager
def answered() -> Iterator[None]:
    """What the database refuses in the block is a RequestError."""
    try:
        yield
    except REPLACED as error:
        raise _not_built(error) from error
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError) and not isinstance(error, TOO_MUCH):
            raise _away(error) from error
        log.error("The database refused a statement", exc_info=error)
        message = "The database refused a statement of the service; its log says why."
        raise RequestError(500, REFUSED, message) from error


def _load_json(stored: str | bytes) -> Any:
    """What is stored as JSON. Rows from before the limit can be deeper than Python can read."""
    content = stored.encode() if isinstance(stored, str) else stored
    return json.loads(cut_below(content, 2 * MAX_DEPTH))


def _not_built(error: Exception) -> RequestError:
    what = str(error).partition("\n")[0]
    return unavailable("not_built", f"The warehouse is not built yet ({what}); run `cdp refresh`.")


def _away(error: Exception) -> RequestError:
    if isinstance(error, errors.QueryCanceled):
        return unavailable(SLOW, "The database took too long; try again.")
    return unavailable(AWAY, "The database does not answer; try again.")
