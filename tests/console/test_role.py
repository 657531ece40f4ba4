"""What the read role may see of raw for the console, and what it may not."""

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo


@pytest.fixture
def role(database: str) -> str:
    return make_conninfo(database, user="cdp_serving")


def test_it_counts_what_has_landed_up_to_a_bound(database: str, role: str) -> None:
    with psycopg.connect(database) as owner:
        for number in range(3):
            owner.execute(
                "insert into raw.events"
                " (message_id, type, occurred_at, received_at, source, payload)"
                " values (%s, 'page', now(), now(), 'web', '{}')",
                [str(number)],
            )
    with psycopg.connect(role) as connection:
        for most, counted in ((100, 3), (2, 2)):
            found = connection.execute("select * from raw.landed_after(0, %s)", [most]).fetchone()
            assert found is not None
            assert found[0] == counted
            assert found[1] is not None


def test_it_sees_the_reason_of_a_rejection_and_never_its_body(role: str) -> None:
    with psycopg.connect(role, autocommit=True) as connection:
        connection.execute("select code, message, source from raw.rejections")
        for statement in (
            "select body from raw.rejections",
            "select body from raw.rejected_events",
            "select code from raw.rejected_events",
            "delete from raw.rejections",
            "update raw.rejections set code = 'b'",
        ):
            with pytest.raises((errors.InsufficientPrivilege, errors.UndefinedColumn)):
                connection.execute(statement.encode())
