"""What each destination has acknowledged, what it has not, and when it may be asked again."""

from alembic import op

revision = "0004"
down_revision = "0003"

DELIVERIES = """
alter table activate.deliveries
    add column mode text,
    add column as_of timestamptz,
    add column rows_failed bigint,
    drop constraint deliveries_status_check,
    add constraint deliveries_status_check
        check (status in ('started', 'succeeded', 'partial', 'held', 'failed', 'withdrawn'));
comment on column activate.deliveries.rows is
    'Rows that the destination acknowledged: members, or in delta mode changes.';
comment on column activate.deliveries.rows_failed is
    'Rows that it did not; see activate.delivery_rows for those that were tried.';
comment on column activate.deliveries.status is
    'partial: some rows are to be tried again. held: nothing was sent, error says why.'
    ' withdrawn: the audience is not to be there any more and was taken away.';
comment on column activate.deliveries.as_of is 'The instant of the batch that was delivered.';
"""

ROWS = """
create table activate.delivery_rows (
    destination text not null,
    audience_id bigint not null,
    profile_id uuid not null,
    change text not null check (change in ('entered', 'changed', 'exited')),
    sent jsonb not null,
    message_id text not null,
    delivery_id uuid not null,
    definition_version integer,
    as_of timestamptz not null,
    status text not null check (status in ('sending', 'pending', 'dead')),
    attempts integer not null default 0,
    is_replacement boolean not null default false,
    error text,
    first_tried_at timestamptz not null default clock_timestamp(),
    next_attempt_at timestamptz not null default clock_timestamp(),
    primary key (destination, audience_id, profile_id)
);
create index delivery_rows_message on activate.delivery_rows (destination, audience_id, message_id);
create index delivery_rows_due on activate.delivery_rows (next_attempt_at) where status <> 'dead';
comment on table activate.delivery_rows is
    'One row per change that a destination may or may not have received: being sent, to be sent'
    ' again (pending), or given up until somebody resends it (dead).';
comment on column activate.delivery_rows.sent is 'The row in the form of the destination.';
comment on column activate.delivery_rows.message_id is
    'The webhook-id of its message; the same in every attempt.';
comment on column activate.delivery_rows.is_replacement is
    'It took the place of a row that may have arrived, so it has to arrive itself.';
"""

ACKNOWLEDGED = """
create table activate.acknowledged_rows (
    destination text not null,
    audience_id bigint not null,
    profile_id uuid not null,
    sent jsonb not null,
    primary key (destination, audience_id, profile_id)
);
comment on table activate.acknowledged_rows is
    'One row per member that a destination in delta mode has acknowledged, as it was sent. What is'
    ' not here is sent again; what was never sent is never taken back.';

create table activate.subscription_states (
    destination text not null,
    audience_id bigint not null,
    audience_key text not null,
    row_format text not null,
    has_rows boolean not null,
    compared_at timestamptz,
    compared_xid xid8,
    system_identifier bigint,
    primary key (destination, audience_id)
);
comment on table activate.subscription_states is
    'One row per destination and audience that something was delivered of.';
comment on column activate.subscription_states.row_format is
    'Mode, columns and hashing; when they change, everybody is compared again.';
comment on column activate.subscription_states.has_rows is
    'Whether the destination holds a member, as far as is known.';
comment on column activate.subscription_states.compared_at is
    'Changes of the audience before this instant are known to have been compared.';
comment on column activate.subscription_states.compared_xid is
    'Profiles last written by an older transaction are known to have been compared.';
comment on column activate.subscription_states.system_identifier is
    'The cluster that compared_xid belongs to; in another one everybody is compared again.';

create table activate.destination_states (
    destination text primary key,
    disabled_at timestamptz,
    disabled_reason text,
    not_before timestamptz
);
comment on table activate.destination_states is
    'One row per destination that said it is gone (410), or asked to be left alone for a while.';
"""

EXPORTS = """
create table activate.warehouse_exports (
    table_name text primary key,
    row_count bigint not null,
    exported_at timestamptz not null,
    exported_xid xid8 not null,
    system_identifier bigint not null,
    changed_at timestamptz
);
comment on table activate.warehouse_exports is
    'One row per table that BigQuery holds, with where the next incremental export begins.';
"""


def upgrade() -> None:
    op.execute(DELIVERIES)
    op.execute(ROWS)
    op.execute(ACKNOWLEDGED)
    op.execute(EXPORTS)
