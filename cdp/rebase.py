"""After a dump was restored into another cluster: landing ids that mean something there.

Transaction ids start again in another cluster. A restored event may carry an id that no transaction
of the new cluster has reached, and a run that reads up to its own horizon would not see it. So what
was restored is put, in its old order, under one transaction id before all others.
"""

from typing import Any

import psycopg

# Below the first id that PostgreSQL gives to anybody, so before whatever lands from now on.
RESTORED_XID = "3"
LOCK = "select pg_advisory_xact_lock(hashtext('cdp'), hashtext('rebase'))"

# Where nothing was refreshed yet, ids of the future tell it.
IS_RESTORED = """
select exists (
    select from decide.watermark
    where system_identifier::text
        <> (select system_identifier::text from pg_control_system())
)
"""
HAS_FUTURE_IDS = """
select exists (
    select from raw.events where xid >= pg_snapshot_xmax(pg_current_snapshot())
)
"""
# A row that landed here was written by the very transaction that its xid names; a row that was
# restored was written by the transaction that restored it.
IS_FOREIGN = """
xid <> '{restored}'::xid8 and xmin::text::numeric <> mod(xid::text::numeric, 4294967296)
"""
REBASE_EVENTS = """
with restored as (
    select tableoid as partition, ctid as place, row_number() over (order by xid, seq) as rank
    from raw.events
    where {foreign}
)

update raw.events
set xid = '{restored}'::xid8, seq = restored.rank
from restored
where events.tableoid = restored.partition and events.ctid = restored.place
"""
REBASE_OTHERS = "update raw.{table} set xid = '{restored}'::xid8 where {foreign}"
REBASE_LATE = """
with restored as (
    delete from raw.late_landings
    where {foreign}
    returning received_on
)

insert into raw.late_landings (xid, received_on)
select distinct '{restored}'::xid8, received_on
from restored
on conflict do nothing
"""
# They tell when transactions of the other cluster began.
FORGET_TRANSACTIONS = "delete from raw.landing_transactions where {foreign}"
# Numbers of runs begin again with transaction ids. Those of before keep their order, below ours.
REBASE_CHANGES = """
update unify.profile_changes
set run = run - (select max(run) + 1 from unify.profile_changes)
where (select max(run) from unify.profile_changes) >= 0
"""
REBASE_RESOLVED = "update unify.int_identifiers__resolved set moved_in = 0 where moved_in <> 0"
# Until a refresh has published here, readers take for pending whatever the store does not hold,
# from any day; and what it holds landed before all that lands here.
REBASE_WATERMARK = "update decide.watermark set to_xid = 0, pending_from = '-infinity'"
# A dump of an earlier version does not number runs.
NUMBERS_RUNS = """
select exists (
    select from pg_attribute where attrelid = 'decide.watermark'::regclass and attname = 'run'
)
"""
REBASE_RUN = "update decide.watermark set run = 0"
REBASE_STORE = """
update decide.identifiers
set landing = landing - (select max(landing) + 1 from decide.identifiers)
where (select max(landing) from decide.identifiers) >= 0
"""


def rebase_restored(url: str) -> int:
    """Give restored rows landing ids of this cluster, as the owner; return how many events.

    Does nothing, at the price of a look at one row, unless the database was restored from another
    cluster. Safe to repeat and to interrupt; the refresh that follows reads everything again.
    """
    with psycopg.connect(url) as connection:
        if not _is_restored(connection):
            return 0
        connection.execute(LOCK)
        parts = {"restored": RESTORED_XID}
        parts["foreign"] = IS_FOREIGN.format(**parts)
        rebased = connection.execute(REBASE_EVENTS.format(**parts).encode()).rowcount
        for table in ("landings", "rejected_events"):
            connection.execute(REBASE_OTHERS.format(table=table, **parts).encode())
        connection.execute(REBASE_LATE.format(**parts).encode())
        connection.execute(FORGET_TRANSACTIONS.format(**parts).encode())
        if _exists(connection, "unify.profile_changes"):
            connection.execute(REBASE_CHANGES)
        if _exists(connection, "unify.int_identifiers__resolved"):
            connection.execute(REBASE_RESOLVED)
        if _exists(connection, "decide.watermark"):
            connection.execute(REBASE_WATERMARK)
            if connection.execute(NUMBERS_RUNS).fetchone() == (True,):
                connection.execute(REBASE_RUN)
            connection.execute(REBASE_STORE)
        return rebased


def _is_restored(connection: psycopg.Connection[Any]) -> bool:
    known = _exists(connection, "decide.watermark")
    row = connection.execute(IS_RESTORED if known else HAS_FUTURE_IDS).fetchone()
    return bool(row and row[0])


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [table]).fetchone()
    return bool(row and row[0])
