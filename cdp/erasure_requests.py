"""Requests to erase or suppress somebody: recorded by whoever is asked, done by the owner's job."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cdp.errors import UserError
from ingest.event import e164

Mode = Literal["delete", "suppress", "both"]
Identifier = tuple[str, str]  # type and value, as unify.identifiers has them
IDENTIFIER_TYPES = ("user_id", "email", "phone", "anonymous_id")

OPEN = """
select request_id, requested_at, mode, identifiers, profile_id, is_whole_profile, certificate
from raw.erasure_requests
where status <> 'completed'
order by requested_at, request_id
"""
# The profile under this id, or what became of it; later runs only, so that the walk ends.
OF_PROFILE = """
with recursive successors as (
    select %(profile_id)s::uuid as profile_id, -9223372036854775808 as run
    union
    select changes.profile_id, changes.run
    from successors
    inner join unify.profile_changes as changes on successors.profile_id = changes.old_profile_id
    where changes.run > successors.run
)

select distinct identifiers.identifier_type, identifiers.identifier_value
from unify.identifiers
inner join successors on identifiers.profile_id = successors.profile_id
"""
OF_SAME_PROFILES = """
select distinct others.identifier_type, others.identifier_value
from unify.identifiers as named
inner join unify.identifiers as others on named.profile_id = others.profile_id
where (named.identifier_type, named.identifier_value) in (
    select * from unnest(%(types)s::text[], %(values)s::text[])
)
"""


class ErasureError(UserError):
    """A request that cannot be carried out; the message says why and what to do."""


@dataclass(frozen=True)
class ErasureRequest:
    """A request that is not completed. `certificate` is what an attempt before has done already."""

    request_id: UUID
    requested_at: datetime
    mode: Mode
    identifiers: list[dict[str, str]] | None
    profile_id: UUID | None
    is_whole_profile: bool
    certificate: dict[str, Any] | None

    @property
    def deletes(self) -> bool:
        return self.mode in ("delete", "both")

    @property
    def suppresses(self) -> bool:
        return self.mode in ("suppress", "both")


def normal_identifier(identifier_type: str, value: str) -> Identifier:
    """An identifier as ingest lands it: trimmed, an e-mail in lower case, a phone in E.164.

    Raises ErasureError for an unknown type or an empty value.
    """
    if identifier_type not in IDENTIFIER_TYPES:
        raise ErasureError(
            f"The identifier type is {identifier_type!r}; "
            f"give one of {', '.join(IDENTIFIER_TYPES)}."
        )
    text = value.strip()
    if not text:
        raise ErasureError(f"The {identifier_type} is empty; give the value to erase.")
    if identifier_type == "email":
        text = text.lower()
    return identifier_type, e164(text) if identifier_type == "phone" else text


def request_erasure(
    connection: psycopg.Connection[Any],
    identifiers: Iterable[Identifier] = (),
    *,
    profile_id: UUID | None = None,
    mode: Mode = "both",
    is_whole_profile: bool = False,
) -> UUID:
    """Record a request; the job `erase_profiles` carries it out. Returns its id."""
    named = [_named(*normal_identifier(*identifier)) for identifier in identifiers]
    if not named and profile_id is None:
        raise ErasureError("Name at least one identifier, or a profile.")
    row = connection.execute(
        "insert into raw.erasure_requests (mode, identifiers, profile_id, is_whole_profile)"
        " values (%s, %s, %s, %s) returning request_id",
        [mode, Jsonb(named), profile_id, is_whole_profile],
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert with returning has one row
    return UUID(str(row[0]))


def open_requests(connection: psycopg.Connection[Any]) -> list[ErasureRequest]:
    """What is asked for and not completed, oldest first; attempts that failed are among them."""
    with connection.cursor(row_factory=class_row(ErasureRequest)) as cursor:
        return cursor.execute(OPEN).fetchall()


def resolve(connection: psycopg.Connection[Any], request: ErasureRequest) -> list[Identifier]:
    """The identifiers that a request is about, as the last refresh knows the profiles.

    Written back into the request: a later attempt would find the profile gone already. None, when
    the profile is gone. Raises ErasureError before the first refresh, when nobody knows a profile.
    """
    found = {
        normal_identifier(each["identifier_type"], each["identifier_value"])
        for each in request.identifiers or []
    }
    if (request.profile_id or request.is_whole_profile) and not _is_built(connection):
        raise ErasureError("No profile has been built yet; run `cdp refresh`, then erase again.")
    if request.profile_id:
        rows = connection.execute(OF_PROFILE, {"profile_id": request.profile_id}).fetchall()
        found |= {(str(kind), str(value)) for kind, value in rows}
    elif request.is_whole_profile:
        chosen = {"types": [kind for kind, _ in found], "values": [value for _, value in found]}
        rows = connection.execute(OF_SAME_PROFILES, chosen).fetchall()
        found |= {(str(kind), str(value)) for kind, value in rows}
    identifiers = sorted(found)
    connection.execute(
        "update raw.erasure_requests set identifiers = %s, profile_id = null,"
        " is_whole_profile = false, status = 'running', error = null where request_id = %s",
        [Jsonb([_named(*each) for each in identifiers]), request.request_id],
    )
    return identifiers


def save_progress(
    connection: psycopg.Connection[Any], request_id: UUID, certificate: Mapping[str, Any]
) -> None:
    """Keep what is done so far, in the transaction that did it."""
    connection.execute(
        "update raw.erasure_requests set certificate = %s where request_id = %s",
        [Jsonb(dict(certificate)), request_id],
    )


def complete(
    connection: psycopg.Connection[Any], request_id: UUID, certificate: Mapping[str, Any]
) -> None:
    """Close a request: its certificate stays, and whom it named goes."""
    connection.execute(
        "update raw.erasure_requests set status = 'completed', error = null, certificate = %s,"
        " completed_at = clock_timestamp(), identifiers = null, profile_id = null"
        " where request_id = %s",
        [Jsonb(dict(certificate)), request_id],
    )


def fail(connection: psycopg.Connection[Any], request_id: UUID, error: str) -> None:
    """Note why an attempt ended; the next run of the job tries again."""
    connection.execute(
        "update raw.erasure_requests set status = 'failed', error = %s where request_id = %s",
        [error, request_id],
    )


def read_requests(
    connection: psycopg.Connection[Any], request_id: UUID | None = None
) -> list[dict[str, Any]]:
    """Requests with status and certificate, newest first; all, or the one with this id."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select request_id, requested_at, mode, status, error, completed_at, certificate"
            " from raw.erasure_requests where %(id)s::uuid is null or request_id = %(id)s"
            " order by requested_at desc, request_id",
            {"id": request_id},
        ).fetchall()


def certificate_text(certificate: Mapping[str, Any]) -> str:
    """A certificate as the file that is handed over."""
    return json.dumps(certificate, indent=2, default=str)


def _named(identifier_type: str, value: str) -> dict[str, str]:
    return {"identifier_type": identifier_type, "identifier_value": value}


def _is_built(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("select to_regclass('unify.identifiers') is not null").fetchone()
    return bool(row and row[0])
