"""Requests to evaluate an audience again for everybody."""

from alembic import op

revision = "0007"
down_revision = "0006"

REBUILDS = """
-- One row per request; the next run that starts after it honours it, whoever started that run.
create table raw.audience_rebuilds (
    rebuild_id bigint generated always as identity primary key,
    audience_key text not null check (length(audience_key) between 1 and 100),
    requested_at timestamptz not null default now(),
    run_id text
);
comment on table raw.audience_rebuilds is 'One row per request to evaluate an audience again.';
comment on column raw.audience_rebuilds.run_id is
    'The Dagster run that was started for it; null when Dagster did not answer.';
create index audience_rebuilds_key on raw.audience_rebuilds (audience_key, rebuild_id desc);
grant select, insert on raw.audience_rebuilds to cdp_serving;
"""


def upgrade() -> None:
    op.execute(REBUILDS)
