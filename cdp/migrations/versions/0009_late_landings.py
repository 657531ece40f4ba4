"""Late landings: noted from an hour on, so that readers look at the partitions of two days only."""

from alembic import op

revision = "0009"
down_revision = "0008"

LATE = """
drop trigger events_late_landing on raw.events;
create trigger events_late_landing after insert on raw.events
for each row when (
    new.received_at < clock_timestamp() - interval '1 hour'
    or new.received_at > clock_timestamp() + interval '1 hour'
)
execute function raw.note_late_landing();
comment on table raw.late_landings is
    'Days of receipt (UTC) of events that landed more than an hour from their receipt, by'
    ' transaction. Readers of what is pending look at the latest days otherwise.';
"""


def upgrade() -> None:
    op.execute(LATE)
