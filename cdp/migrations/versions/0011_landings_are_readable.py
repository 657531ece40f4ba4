"""The read side may see whether anything landed: what it need not correct is one query."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("grant select on raw.landing_transactions to cdp_serving")
