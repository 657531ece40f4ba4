"""What was delivered where: one row per attempt."""

from alembic import op

revision = "0002"
down_revision = "0001"

DELIVERIES = """
create table activate.deliveries (
    delivery_id uuid primary key default gen_random_uuid(),
    destination text not null,
    audience_id bigint not null,
    rows bigint,
    status text not null check (status in ('started', 'succeeded', 'failed', 'withdrawn')),
    error text,
    definition_version integer,
    started_at timestamptz not null default now(),
    finished_at timestamptz
);
comment on table activate.deliveries is
    'One row per attempt to deliver an audience to a destination.';
comment on column activate.deliveries.rows is 'How many members the destination acknowledged.';
comment on column activate.deliveries.status is
    'withdrawn: the audience no longer exists and was taken away from the destination.';
create index deliveries_audience on activate.deliveries (audience_id, started_at desc);
"""


def upgrade() -> None:
    op.execute(DELIVERIES)
