"""Decisions: whom a draw is of, also while nobody is known, and the holdout that was in force."""

from alembic import op

revision = "0012"
down_revision = "0011"

SUBJECTS = """
alter table decide.decisions
    add column subject_id text,
    add column holdout_percent double precision;
comment on column decide.decisions.subject_id is
    'What the holdout was drawn from: the profile, or for somebody unknown the id that they will'
    ' have once seen. Null in rows from before this column, where somebody unknown cannot be told.';
comment on column decide.decisions.holdout_percent is
    'Share that the rule kept out when this was decided; 0 is nobody. Null in rows from before this'
    ' column, for which decide.decision_results takes a holdout to be in force from the first who'
    ' was kept out on, among the decisions of the same rule_key and rule_version.';
"""


def upgrade() -> None:
    op.execute(SUBJECTS)
