"""One transaction in one round trip.

The statements of a group travel as one simple query, which PostgreSQL runs as one transaction: all
of it is committed when the query is done, or nothing. Sending `begin`, each `copy` and `commit` by
themselves costs seven round trips, which at a few hundred groups a second is most of the work.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

# libpq grows its buffer to whatever it is given at once; pieces keep it small.
PIECE_BYTES = 256 * 1024


async def execute_with_copies(
    connection: psycopg.AsyncConnection[Any], query: bytes, streams: Sequence[bytes]
) -> None:
    """Run several statements as one transaction; the n-th `copy` among them reads `streams[n]`.

    Raises the psycopg.Error of the first statement that fails; nothing is stored then.
    """
    await connection.wait(_run(connection.pgconn, query, streams))


def _run(pgconn: PGconn, query: bytes, streams: Sequence[bytes]) -> PQGen[None]:
    pgconn.send_query(query)
    remaining = iter(streams)
    failure: PGresult | None = None
    while True:
        yield from _flush(pgconn)
        result = yield from _next_result(pgconn)
        if result is None:
            break
        if result.status == ExecStatus.COPY_IN:
            yield from _copy(pgconn, next(remaining))
        elif result.status == ExecStatus.FATAL_ERROR:
            failure = failure or result
    if failure:
        raise psycopg.errors.error_from_result(failure)


def _copy(pgconn: PGconn, rows: bytes) -> PQGen[None]:
    for start in range(0, len(rows), PIECE_BYTES):
        while pgconn.put_copy_data(rows[start : start + PIECE_BYTES]) == 0:
            yield Wait.W
        if start:
            yield from _flush(pgconn)
    while pgconn.put_copy_end() == 0:
        yield Wait.W


def _flush(pgconn: PGconn) -> PQGen[None]:
    while pgconn.flush():
        ready = yield Wait.RW
        # None while a cancelled statement is waited for.
        if ready and ready & Ready.R:
            pgconn.consume_input()


def _next_result(pgconn: PGconn) -> PQGen[PGresult | None]:
    while pgconn.is_busy():
        ready = yield Wait.R
        if ready:
            pgconn.consume_input()
    return pgconn.get_result()
