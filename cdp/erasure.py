"""Erasing people from every table: what landed, what was computed, what was logged.

Tables are found by their columns, so that one which is added later is not forgotten: `event_id`,
`identifier_type` with `identifier_value`, the columns that carry identifiers, and `profile_id`. A
profile's id is a hash of its oldest identifier, so it goes with that identifier.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from cdp.erasure_requests import Identifier
from cdp.mentions import ERASED, Mentions, mentions_of
from ingest.rejection import RejectionError
from ingest.salvage import split_batch

SCHEMAS = ["raw", "collect", "unify", "segment", "activate", "decide"]
# Derived from what landed: gone at once, and computed again from what is left.
COMPUTED = ["collect", "unify", "decide"]
OPEN_REQUESTS = ("raw", "erasure_requests")
HISTORY = ("segment", "audience_changes")

TABLES = """
select schema_name, table_name, array_agg(column_name::text order by column_name)
from (
    select pg_namespace.nspname as schema_name, pg_class.relname as table_name,
        pg_attribute.attname as column_name
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    inner join pg_attribute on pg_class.oid = pg_attribute.attrelid
    where pg_namespace.nspname = any(%s)
        and pg_class.relkind in ('r', 'p')
        and not pg_class.relispartition
        and pg_attribute.attnum > 0
        and not pg_attribute.attisdropped
) as columns
group by schema_name, table_name
order by schema_name, table_name
"""
# An alias call does not say of which type its other id is.
DELETE_EVENTS = """
with gone as (
    delete from raw.events
    where user_id = any(%(user_id)s)
        or email = any(%(email)s)
        or phone = any(%(phone)s)
        or anonymous_id = any(%(anonymous_id)s)
        or previous_id = any(%(user_id)s)
        or previous_id = any(%(anonymous_id)s)
    returning received_at, source, message_id
),
accounted as (
    insert into raw.landings
        (received_on, source, received_count, accepted_count, rejected_count, erased_count)
    select (received_at at time zone 'UTC')::date, source, 0, -count(*), 0, count(*)
    from gone
    group by 1, 2
)
select distinct md5(message_id)::uuid, count(*) over () from gone
"""
REDACT_EVENTS = """
update raw.events
set payload = regexp_replace(payload::text, %(pattern)s, %(erased)s, 'gi')::jsonb
where payload::text ~* %(pattern)s
"""
REDACT_DECISIONS = """
update decide.decisions
set context = regexp_replace(context::text, %(pattern)s, %(erased)s, 'gi')::jsonb
where context::text ~* %(pattern)s
"""
CANDIDATES = """
select rejected_id, received_at, source, body, body_encoding, batch_index, replayed_at
from raw.rejected_events
where body_encoding = 'base64' or body ~* %(pattern)s or message_id ~* %(pattern)s
    or message ~* %(pattern)s
for update
"""
DELETE_REJECTED = """
with gone as (
    delete from raw.rejected_events where rejected_id = any(%s)
    returning received_at, source
)
insert into raw.landings
    (received_on, source, received_count, accepted_count, rejected_count, erased_count)
select (received_at at time zone 'UTC')::date, source, 0, 0, -count(*), count(*)
from gone
group by 1, 2
"""
# The next refresh computes collect and unify again from what is left, whichever starts it.
FORGET_WATERMARK = """
do $$ begin
    if to_regclass('decide.watermark') is not null then
        update decide.watermark set rules_digest = 'erased';
    end if;
end $$
"""

# The event that linked two profiles may be gone.
LOST_EVIDENCE = """
update unify.profile_changes
set evidence = null
where evidence is not null
    and not exists (select from unify.events where events.event_id = profile_changes.evidence)
"""

# Where they have ever been a member, a destination is told with the next delivery: files and tables
# are written whole, those that are told of changes compare everybody, and an audience that is empty
# without them is no mistake.
COMPARE_AGAIN = """
update activate.subscription_states
set row_format = 'erased', has_rows = false
where audience_id in (
    select audience_id from segment.audience_changes where profile_id = any(%s)
)
"""
# What a destination was sent of somebody who is gone, and has not confirmed to have taken away.
NOT_TOLD = """
select destination, count(distinct held.profile_id)
from (
    select destination, profile_id from activate.acknowledged_rows
    union all
    select destination, profile_id from activate.delivery_rows
) as held
where held.profile_id = any(%s)
    and not exists (select from unify.profiles where profiles.profile_id = held.profile_id)
group by destination
order by destination
"""

OF_EVENTS = sql.SQL("event_id = any(%s)")
OF_IDENTIFIERS = sql.SQL(
    "(identifier_type, identifier_value) in (select * from unnest(%s::text[], %s::text[]))"
)

Counts = Counter[str]


def profile_ids_of(identifiers: Iterable[Identifier]) -> list[UUID]:
    """The profiles that would be named after one of these identifiers, as dbt names them."""
    return [
        UUID(hashlib.md5(f"{kind}:{value}".encode(), usedforsecurity=False).hexdigest())
        for kind, value in identifiers
    ]


def erase_landed(
    connection: psycopg.Connection[Any], identifiers: Sequence[Identifier]
) -> tuple[Counts, Counts]:
    """Delete the events and the quarantine of these identifiers, and what was computed from them.

    In the caller's transaction, which is what makes it whole. Where an event of somebody else
    mentions one of them, the mention is replaced by `[erased]`. Audiences and deliveries stay until
    a refresh has told every destination; see `erase_history`. Returns rows deleted and rows
    redacted by table.
    """
    deleted, redacted = Counts(), Counts()
    values = _values(identifiers)
    mentions = mentions_of(identifiers)
    gone = connection.execute(DELETE_EVENTS, values).fetchall()
    deleted["raw.events"] = gone[0][1] if gone else 0
    if mentions.anywhere:
        chosen = {"pattern": mentions.anywhere, "erased": ERASED}
        redacted["raw.events"] = connection.execute(REDACT_EVENTS, chosen).rowcount
        redacted["decide.decisions"] = connection.execute(REDACT_DECISIONS, chosen).rowcount
    _erase_rejected(connection, mentions, deleted, redacted)
    _erase_computed(connection, identifiers, [row[0] for row in gone], deleted)
    if any(each[:2] == HISTORY for each in _tables(connection, ["segment"])):
        connection.execute(COMPARE_AGAIN, [profile_ids_of(identifiers)])
    connection.execute(FORGET_WATERMARK)
    return deleted, redacted


def not_told(
    connection: psycopg.Connection[Any], identifiers: Sequence[Identifier]
) -> dict[str, int]:
    """How many of them each destination still holds, as far as is known before history goes."""
    rows = connection.execute(NOT_TOLD, [profile_ids_of(identifiers)]).fetchall()
    return {str(destination): int(count) for destination, count in rows}


def erase_history(
    connection: psycopg.Connection[Any], identifiers: Sequence[Identifier]
) -> tuple[Counts, Counts]:
    """Delete every row about the profiles of these identifiers: members, changes, decisions, logs.

    Call it when a refresh has computed what is left. Somebody who was not suppressed may be back by
    then, under the same id: what the refresh computed about them stays. Returns as `erase_landed`.
    """
    deleted, redacted = Counts(), Counts()
    ids = [str(each) for each in profile_ids_of(identifiers)]
    back = {
        str(profile_id)
        for (profile_id,) in connection.execute(
            "select profile_id from unify.profiles where profile_id = any(%s::uuid[])", [ids]
        )
    }
    for schema, table, columns in _tables(connection, SCHEMAS):
        if (schema, table) == OPEN_REQUESTS:
            continue
        name = f"{schema}.{table}"
        is_computed = schema in COMPUTED and name != "decide.decisions"
        gone = [each for each in ids if not (is_computed and each in back)]
        for column in ("profile_id", "old_profile_id", "subject_id"):
            if column in columns:
                condition = sql.SQL("{}::text = any(%s)").format(sql.Identifier(column))
                deleted[name] += _delete(connection, schema, table, condition, [gone])
        if "previous_profile_id" in columns:
            redacted[name] += _set_null(connection, schema, table, "previous_profile_id", ids)
    redacted["unify.profile_changes"] += connection.execute(LOST_EVIDENCE).rowcount
    return deleted, redacted


def remaining_mentions(
    connection: psycopg.Connection[Any], identifiers: Sequence[Identifier]
) -> tuple[dict[str, int], int]:
    """Search each row of each table, as text; return rows found by table, and tables searched.

    The open requests themselves are left out: they name people until they are completed.
    """
    mentions = mentions_of(identifiers, map(str, profile_ids_of(identifiers)))
    found: dict[str, int] = {}
    tables = [each for each in _tables(connection, SCHEMAS) if each[:2] != OPEN_REQUESTS]
    for schema, table, _columns in tables:
        query = sql.SQL("select count(*) from {} as each_row where each_row::text ~* %s").format(
            sql.Identifier(schema, table)
        )
        # A row as text doubles the quotes of JSON in it, so only what stands by itself is found.
        row = connection.execute(query, [mentions.anywhere]).fetchone()
        if row and row[0]:
            found[f"{schema}.{table}"] = row[0]
    return found, len(tables)


def _erase_rejected(
    connection: psycopg.Connection[Any], mentions: Mentions, deleted: Counts, redacted: Counts
) -> None:
    if not mentions.either:
        return
    gone = []
    for rejected_id, _at, _source, text, encoding, index, _replayed in connection.execute(
        CANDIDATES, {"pattern": mentions.either}
    ).fetchall():
        body = base64.b64decode(text) if encoding == "base64" else text.encode()
        kept = body if not _names(mentions, body) else None
        if kept is None and index is None:
            kept = _without(mentions, body)
        if kept is None:
            gone.append(rejected_id)
        elif kept != body:
            as_stored = base64.b64encode(kept).decode() if encoding == "base64" else kept.decode()
            connection.execute(
                "update raw.rejected_events set body = %s where rejected_id = %s",
                [as_stored, rejected_id],
            )
            redacted["raw.rejected_events"] += 1
    connection.execute(DELETE_REJECTED, [gone])
    deleted["raw.rejected_events"] = len(gone)


def _names(mentions: Mentions, body: bytes) -> bool:
    return mentions.are_in(body.decode(errors="replace"))


def _without(mentions: Mentions, body: bytes) -> bytes | None:
    """A batch without the items that name somebody; None where that cannot be done."""
    try:
        rest, items = split_batch(body)
    except RejectionError:
        return None
    others = [item for item in items if not _names(mentions, item)]
    if not others or _names(mentions, rest):
        return None
    place = rest.index(b"[]") + 1
    return rest[:place] + b",".join(others) + rest[place:]


def _erase_computed(
    connection: psycopg.Connection[Any],
    identifiers: Sequence[Identifier],
    event_ids: list[UUID],
    deleted: Counts,
) -> None:
    values = _values(identifiers)
    kinds, texts = [kind for kind, _ in identifiers], [value for _, value in identifiers]
    for schema, table, columns in _tables(connection, COMPUTED):
        name = f"{schema}.{table}"
        if "event_id" in columns:
            deleted[name] += _delete(connection, schema, table, OF_EVENTS, [event_ids])
        if {"identifier_type", "identifier_value"} <= set(columns):
            deleted[name] += _delete(connection, schema, table, OF_IDENTIFIERS, [kinds, texts])
        for column, wanted in values.items():
            if column in columns and wanted:
                condition = sql.SQL("{} = any(%s)").format(sql.Identifier(column))
                deleted[name] += _delete(connection, schema, table, condition, [wanted])


def _delete(
    connection: psycopg.Connection[Any],
    schema: str,
    table: str,
    condition: sql.Composable,
    parameters: list[Any],
) -> int:
    statement = sql.SQL("delete from {} where {}").format(sql.Identifier(schema, table), condition)
    return connection.execute(statement, parameters).rowcount


def _set_null(
    connection: psycopg.Connection[Any], schema: str, table: str, column: str, ids: list[str]
) -> int:
    statement = sql.SQL("update {} set {column} = null where {column}::text = any(%s)").format(
        sql.Identifier(schema, table), column=sql.Identifier(column)
    )
    return connection.execute(statement, [ids]).rowcount


def _tables(
    connection: psycopg.Connection[Any], schemas: list[str]
) -> list[tuple[str, str, list[str]]]:
    """Schema, name and columns of each table; a partitioned one counts once."""
    return connection.execute(TABLES, [schemas]).fetchall()


def _values(identifiers: Sequence[Identifier]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {"user_id": [], "email": [], "phone": [], "anonymous_id": []}
    for kind, value in identifiers:
        values[kind].append(value)
    return values
