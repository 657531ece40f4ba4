"""The steps of an erasure, in an order in which a crash at any point is made good by the next run.

1. Suppress, and wait until no writer can land by an older list. 2. Delete what landed and what was
computed from it, in one transaction per request. 3. Refresh: everything is computed again from what
is left, audiences report the exit, every destination is told. 4. Delete the profiles' history.
5. Bring the copies of the public tables in BigQuery up to date. 6. Search every table and file, and
close the request with its certificate.
"""

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cdp.database import database_url
from cdp.erasure import (
    erase_history,
    erase_landed,
    not_told,
    profile_ids_of,
    remaining_mentions,
)
from cdp.erasure_requests import (
    ErasureError,
    ErasureRequest,
    Identifier,
    complete,
    fail,
    open_requests,
    resolve,
    save_progress,
)
from cdp.errors import UserError
from cdp.mentions import mentions_of
from cdp.settings import Settings
from cdp.suppression import hash_identifier, suppress, wait_for_open_landings
from dagster_project.exclusive import REFRESH, exclusive
from dagster_project.run import RefreshResult
from dagster_project.warehouse_export import Copies, update_copies

ERASURE = "erasure"
NOT_RECOMPUTED = "select rules_digest = 'erased' from decide.watermark"
HOW_TO_CHECK = "sha256(salt, then identifier_type, ':' and identifier_value), all in hexadecimal"


@dataclass(frozen=True)
class Erasing:
    """A request that is being carried out."""

    request: ErasureRequest
    identifiers: list[Identifier]


def erase_open_requests(
    settings: Settings,
    refresh: Callable[[], RefreshResult],
    *,
    holder: str,
    on_wait: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Carry out what is asked for and return a certificate per completed request.

    A request that names nobody is marked as failed and does not keep the others. Raises
    ErasureError when the refresh failed or BigQuery could not be reached: what landed is erased by
    then, and the next run goes on.
    """
    url = database_url(settings)
    with (
        exclusive(url, ERASURE, holder=holder, on_wait=on_wait),
        psycopg.connect(url, autocommit=True) as connection,
    ):
        erasing = list(_resolved(connection))
        try:
            _suppress(url, connection, erasing)
        except UserError as error:
            for each in erasing:
                fail(connection, each.request.request_id, str(error))
            raise ErasureError(str(error)) from error
        deleting = [each for each in erasing if each.request.deletes]
        if deleting:
            with exclusive(url, REFRESH, holder=holder, on_wait=on_wait):
                for each in deleting:
                    _erase_landed(connection, each)
            result = refresh()
            _require_recomputed(connection, deleting, result)
        certificates = []
        with exclusive(url, REFRESH, holder=holder, on_wait=on_wait):
            for each in deleting:
                _erase_history(connection, each)
            copies = _update_copies(settings, connection, deleting, holder)
            for each in erasing:
                certificates.append(_certify(settings, connection, each, copies))
        if deleting:
            connection.execute("vacuum raw.events, raw.rejected_events")
        return certificates


def _resolved(connection: psycopg.Connection[Any]) -> Iterator[Erasing]:
    for request in open_requests(connection):
        try:
            with connection.transaction():
                yield Erasing(request, resolve(connection, request))
        except ErasureError as error:
            fail(connection, request.request_id, str(error))


def _suppress(url: str, connection: psycopg.Connection[Any], erasing: Sequence[Erasing]) -> None:
    named = [pair for each in erasing if each.request.suppresses for pair in each.identifiers]
    if named:
        with connection.transaction():
            suppress(connection, named)
        wait_for_open_landings(url)


def _erase_landed(connection: psycopg.Connection[Any], erasing: Erasing) -> None:
    with connection.transaction():
        _add_progress(connection, erasing, *erase_landed(connection, erasing.identifiers))


def _erase_history(connection: psycopg.Connection[Any], erasing: Erasing) -> None:
    with connection.transaction():
        outside = {
            name: f"profiles whose exit it has not confirmed: {count}"
            for name, count in not_told(connection, erasing.identifiers).items()
        }
        deleted, redacted = erase_history(connection, erasing.identifiers)
        _add_progress(connection, erasing, deleted, redacted, outside)


def _add_progress(
    connection: psycopg.Connection[Any],
    erasing: Erasing,
    deleted: Counter[str],
    redacted: Counter[str],
    outside: Mapping[str, str] | None = None,
) -> None:
    """Add to what earlier steps, and earlier attempts, have done."""
    before = _progress(connection, erasing)
    progress = {
        "deleted": _added(before.get("deleted"), deleted),
        "redacted": _added(before.get("redacted"), redacted),
        "outside": before.get("outside", {}) | dict(outside or {}),
    }
    save_progress(connection, erasing.request.request_id, progress)


def _progress(connection: psycopg.Connection[Any], erasing: Erasing) -> dict[str, Any]:
    row = connection.execute(
        "select certificate from raw.erasure_requests where request_id = %s",
        [erasing.request.request_id],
    ).fetchone()
    return dict(row[0]) if row and row[0] else {}


def _require_recomputed(
    connection: psycopg.Connection[Any], erasing: Sequence[Erasing], result: RefreshResult
) -> None:
    # A destination that could not be told fails the run as well, and is no reason to wait.
    row = connection.execute(NOT_RECOMPUTED).fetchone()
    if result.success or (row and not row[0]):
        return
    message = (
        f"What landed is erased; the refresh after it failed (run {result.run_id}). Mend the cause "
        "and run the job erase_profiles again: it goes on from here."
    )
    for each in erasing:
        fail(connection, each.request.request_id, message)
    raise ErasureError(f"{message}\n" + "\n".join(result.failures))


def _update_copies(
    settings: Settings,
    connection: psycopg.Connection[Any],
    erasing: Sequence[Erasing],
    holder: str,
) -> Copies:
    if not erasing:
        return Copies()
    try:
        return update_copies(database_url(settings), settings, holder=holder)
    except UserError as error:
        message = (
            f"All is erased but the copies in BigQuery. {error} Then run the job erase_profiles "
            "again: it goes on from here."
        )
        for each in erasing:
            fail(connection, each.request.request_id, message)
        raise ErasureError(message) from error


def _certify(
    settings: Settings, connection: psycopg.Connection[Any], erasing: Erasing, copies: Copies
) -> dict[str, Any]:
    """Search, and close the request, in one transaction."""
    request, identifiers = erasing.request, erasing.identifiers
    with connection.transaction():
        certificate: dict[str, Any] = {
            "request_id": str(request.request_id),
            "mode": request.mode,
            "requested_at": request.requested_at.isoformat(),
            **_hashed(identifiers),
            "suppressed": request.suppresses,
        }
        if request.deletes:
            certificate |= _found(settings, connection, erasing, copies)
        row = connection.execute("select clock_timestamp()").fetchone()
        certificate["completed_at"] = row[0].isoformat() if row else None
        complete(connection, request.request_id, certificate)
    return certificate


def _found(
    settings: Settings, connection: psycopg.Connection[Any], erasing: Erasing, copies: Copies
) -> dict[str, Any]:
    done = _progress(connection, erasing)
    in_tables, table_count = remaining_mentions(connection, erasing.identifiers)
    in_files, file_count = _files_naming(settings.exports, erasing.identifiers)
    return {
        "deleted": done["deleted"],
        "redacted": done["redacted"],
        "copies": list(copies.updated),
        "searched": {"tables": table_count, "files": file_count},
        "remaining": in_tables | in_files,
        "outside": done["outside"] | dict(copies.outside),
    }


def _hashed(identifiers: Sequence[Identifier]) -> dict[str, Any]:
    """The identifiers as salted hashes: who knows one can check it, and nobody can read one."""
    salt = secrets.token_bytes(16)
    return {
        "identifiers": [
            {"identifier_type": kind, "sha256": hash_identifier(salt, kind, value).hex()}
            for kind, value in identifiers
        ],
        "salt": salt.hex(),
        "how_to_check": HOW_TO_CHECK,
    }


def _files_naming(folder: Path, identifiers: Sequence[Identifier]) -> tuple[dict[str, int], int]:
    """Lines that name one of them, by file; and how many files there are."""
    pattern = mentions_of(identifiers, map(str, profile_ids_of(identifiers))).anywhere or "$^"
    search = re.compile(pattern, re.IGNORECASE).search
    found: Counter[str] = Counter()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        with path.open(errors="replace") as lines:
            found[path.name] += sum(1 for line in lines if search(line))
    return {name: count for name, count in found.items() if count}, len(files)


def _added(before: dict[str, int] | None, counted: Counter[str]) -> dict[str, int]:
    total = Counter(before or {}) + counted
    return {name: count for name, count in sorted(total.items()) if count}
