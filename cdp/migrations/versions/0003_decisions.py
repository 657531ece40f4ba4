"""What the read side writes: its decisions, and the audiences that were defined over HTTP."""

from alembic import op

revision = "0003"
down_revision = "0002"

DECISIONS = """
create table decide.decisions (
    decision_id uuid primary key,
    profile_id text,
    experience text not null,
    rule_key text not null,
    audience_keys text[] not null,
    context jsonb not null,
    is_holdout boolean not null default false,
    rule_version text not null,
    decided_at timestamptz not null
);
comment on table decide.decisions is 'One row per decision made.';
comment on column decide.decisions.profile_id is 'Null when nobody was known by the identifiers.';
comment on column decide.decisions.audience_keys is 'The audiences that the profile belonged to.';
comment on column decide.decisions.context is 'The context of the request, as sent.';
comment on column decide.decisions.rule_version is 'Fingerprint of the decision rules used.';
create index decisions_profile on decide.decisions (profile_id, decided_at desc);
create index decisions_decided_at on decide.decisions (decided_at);
grant select, insert on decide.decisions to cdp_serving;
"""

DEFINITIONS = """
-- One row per definition sent to POST /audiences, kept; the newest of a key counts.
create table raw.audience_definitions (
    definition_id bigint generated always as identity primary key,
    audience_key text not null check (audience_key ~ '^[a-z0-9][a-z0-9_-]{0,99}$'),
    name text not null,
    description text,
    definition text not null,
    owner text,
    is_enabled boolean not null,
    defined_at timestamptz not null default now()
);
comment on table raw.audience_definitions is
    'One row per audience definition sent over HTTP; the newest of a key counts.';
create index audience_definitions_key
    on raw.audience_definitions (audience_key, definition_id desc);
grant usage on schema raw to cdp_serving;
grant select, insert on raw.audience_definitions to cdp_serving;
"""


def upgrade() -> None:
    op.execute(DECISIONS)
    op.execute(DEFINITIONS)
