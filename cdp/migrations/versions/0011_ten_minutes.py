"""Late landings: noted from ten minutes on, so that readers look at one day but near midnight.

The read side may also see whether anything landed: what it need not correct is then one query.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

LATE = """
drop trigger events_late_landing on raw.events;
create trigger events_late_landing after insert on raw.events
for each row when (
    new.received_at < clock_timestamp() - interval '10 minutes'
    or new.received_at > clock_timestamp() + interval '10 minutes'
)
execute function raw.note_late_landing();
comment on table raw.late_landings is
    'Days of receipt (UTC) of events that landed more than ten minutes from their receipt, by'
    ' transaction. Readers of what is pending look at the latest days otherwise.';

grant select on raw.landing_transactions to cdp_serving;
"""


def upgrade() -> None:
    op.execute(LATE)
