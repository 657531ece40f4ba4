"""Audiences as CSV files in a folder: `<audience_key>.csv` and `<audience_key>.manifest.json`.

A file appears whole or not at all: it is written beside its place under another name, forced to
disk, and renamed. The manifest follows in the same way. Who needs both of one delivery compares
the manifest's `sha256` with the file, and reads again when they differ.

Instants are ISO 8601 with their offset, in UTC, as PostgreSQL writes them: putting a `T` between
day and time would cost a fifth of the whole export.

Spreadsheets run a cell that begins with = + - @, tab or carriage return as a formula. As OWASP
advises, text of that kind gets a leading apostrophe; what is a plain number stays one.
https://owasp.org/www-community/attacks/CSV_Injection
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg import sql

from dagster_project.destinations.destination import Audience, Delivered, DeliveryError

MANIFEST_SUFFIX = ".manifest.json"
SAFE_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
COLUMNS = (
    "email",
    "user_id",
    "total_spend",
    "total_orders",
    "last_seen_at",
    "profile_id",
    "added_at",
)
BLOCK_BYTES = 1 << 20

# Characters that start a formula, by code point: = + - @, tab, line feed, carriage return,
# and the full-width forms of the first four. Compared as numbers, which costs less than a pattern;
# the pattern is only for the few that match.
FORMULA_SAFE = r"""
        case
            when ascii({value}) in (61, 43, 45, 64, 9, 10, 13, 65309, 65291, 65293, 65312)
                and {value} !~ '^[+-]?[0-9]+(\.[0-9]+)?$'
                then $$'$$ || {value}
            else {value}
        end
"""

MEMBERS = sql.SQL(r"""
copy (
    select
        {email} as email,
        {user_id} as user_id,
        profiles.total_spend,
        profiles.total_orders,
        profiles.last_seen_at,
        profiles.profile_id,
        audience_members.added_at
    from segment.audience_members
    inner join unify.profiles on profiles.profile_id = audience_members.profile_id
    where audience_members.audience_id = {audience_id}
    order by audience_members.profile_id
) to stdout with (format csv, header)
""")


@dataclass(frozen=True)
class CsvFiles:
    """CSV files under `folder`. Personal data: readable by the owner and the group only."""

    folder: Path
    name: str = "csv"

    def deliver(self, audience: Audience, snapshot: psycopg.Connection[Any]) -> Delivered:
        """Write the file and its manifest. Memory does not grow with the audience."""
        path = self._path(audience.audience_key)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers(audience.audience_key)
        statement = members_statement(audience.audience_id)
        with _replacing(path) as file:
            rows, size, digest = _stream(snapshot, statement, file)
            if rows != audience.member_count:
                raise DeliveryError(
                    f"Audience {audience.audience_key} has {audience.member_count} members, but "
                    f"{rows} of them have a profile; {path} was left as it is. Run `cdp refresh`."
                )
        manifest = {
            "audience_key": audience.audience_key,
            "audience_id": audience.audience_id,
            "definition_version": audience.definition_version,
            "as_of": audience.as_of.isoformat(),
            "file": path.name,
            "columns": COLUMNS,
            "rows": rows,
            "bytes": size,
            "sha256": digest,
        }
        with _replacing(self._manifest_path(audience.audience_key)) as file:
            file.write(json.dumps(manifest, indent=2).encode() + b"\n")
        return Delivered(rows=rows, facts={"path": str(path), "bytes": size, "sha256": digest})

    def delivered(self) -> dict[str, int]:
        """Audience ids by key, from the manifests. Files without one are not ours."""
        found = {}
        for path in self.folder.glob(f"*{MANIFEST_SUFFIX}"):
            key = path.name.removesuffix(MANIFEST_SUFFIX)
            with contextlib.suppress(ValueError, KeyError, TypeError):
                found[key] = int(json.loads(path.read_text())["audience_id"])
        return found

    def withdraw(self, audience_key: str) -> None:
        # The manifest goes last: until then a withdrawal that was cut short is found again.
        self._path(audience_key).unlink(missing_ok=True)
        self._manifest_path(audience_key).unlink(missing_ok=True)

    def _path(self, audience_key: str) -> Path:
        if not SAFE_KEY.fullmatch(audience_key):
            raise DeliveryError(
                f"audience_key is {audience_key!r}, which cannot be a file name; use lower-case "
                "letters, digits, _ and -."
            )
        return self.folder / f"{audience_key}.csv"

    def _manifest_path(self, audience_key: str) -> Path:
        return self.folder / f"{audience_key}{MANIFEST_SUFFIX}"

    def _remove_leftovers(self, audience_key: str) -> None:
        """Remove what a killed delivery left. The caller delivers an audience once at a time."""
        for path in (self._path(audience_key), self._manifest_path(audience_key)):
            _scratch(path).unlink(missing_ok=True)


def members_statement(audience_id: int) -> sql.Composed:
    """The `copy` of an audience's members that gives the file, header included."""
    return MEMBERS.format(
        email=_formula_safe("profiles", "email"),
        user_id=_formula_safe("profiles", "user_id"),
        audience_id=sql.Literal(audience_id),
    )


def _formula_safe(table: str, column: str) -> sql.Composed:
    return sql.SQL(FORMULA_SAFE).format(value=sql.Identifier(table, column))


def _stream(
    snapshot: psycopg.Connection[Any], statement: sql.Composed, file: BinaryIO
) -> tuple[int, int, str]:
    """Copy the statement's output into the file; rows (without the header), bytes, sha256."""
    digest = hashlib.sha256()
    size = 0
    with snapshot.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in _blocks(copy):
                digest.update(block)
                size += file.write(block)
        return cursor.rowcount, size, digest.hexdigest()


def _blocks(copy: psycopg.Copy) -> Iterator[bytes]:
    """The server sends row by row; hashing and writing go by larger pieces."""
    block = bytearray()
    for row in copy:
        block += row
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and vanishes if not."""
    scratch = _scratch(path)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
