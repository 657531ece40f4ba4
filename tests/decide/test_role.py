"""The read side's database role can read what was computed, ask and log; nothing else."""

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from unify.profiles",
        "select count(*) from unify.events",
        "select count(*) from unify.identifiers",
        "select count(*) from segment.audience_members",
        "select count(*) from segment.audience_changes",
        "select count(*) from decide.watermark",
        "select count(*) from decide.decision_rules",
        "insert into decide.decisions (decision_id, experience, rule_key, audience_keys, context,"
        " rule_version, decided_at) values (gen_random_uuid(), 'a', 'a', '{}', '{}', 'a', now())",
        "insert into raw.audience_definitions (audience_key, name, definition, is_enabled)"
        " values ('a', 'a', '{}', true)",
        "insert into raw.erasure_requests (mode, identifiers) values ('both', '[]')",
        "select status, certificate from raw.erasure_requests",
    ],
)
def test_it_may(warehouse: str, statement: str) -> None:
    with psycopg.connect(make_conninfo(warehouse, user="cdp_serving")) as connection:
        connection.execute(statement.encode())
        connection.rollback()


def test_its_question_about_one_person_is_one_plan_until_something_has_landed(
    warehouse: str,
) -> None:
    with psycopg.connect(make_conninfo(warehouse, user="cdp_serving")) as connection:
        lines = connection.execute(
            "explain (analyze, costs off, timing off)"
            " select * from decide.profile_now(null, 'ada', null, null, null, now())"
        ).fetchall()
    plan = "\n".join(line for (line,) in lines)
    assert "Seq Scan on watermark" in plan
    assert "Function Scan on profile_with_pending" in plan
    assert "Function Scan on profile_now" not in plan


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from raw.events",
        "select count(*) from raw.write_keys",
        "insert into raw.events default values",
        "delete from decide.decisions",
        "update decide.decisions set experience = 'b'",
        "update raw.audience_definitions set name = 'b'",
        "delete from segment.audience_members",
        "select identifiers from raw.erasure_requests",
        "update raw.erasure_requests set status = 'completed'",
        "insert into raw.erasure_requests (mode, status) values ('both', 'completed')",
        "delete from raw.suppressions",
        "select count(*) from raw.suppressions",
        "truncate unify.profiles",
        "drop table unify.profiles",
        "create table unify.mine (a integer)",
    ],
)
def test_it_may_not(warehouse: str, statement: str) -> None:
    with (
        psycopg.connect(make_conninfo(warehouse, user="cdp_serving")) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())
