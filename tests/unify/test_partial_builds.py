"""What somebody may ask of dbt besides a whole run: no selection loses rows without a word."""

import psycopg
import pytest

from tests.unify.conftest import UNIFY, Warehouse
from tests.unify.test_incremental import assert_equal, snapshot
from tests.warehouse import BuildError, build, land

AS_OF = "2026-01-03T00:00:00Z"
pytestmark = pytest.mark.xdist_group("partial builds")


@pytest.fixture(scope="module")
def standing(module_database: str) -> str:
    """Two refreshes, the second of which looked at one of three people."""
    at = {"type": "page", "timestamp": "2026-01-01T00:00:00Z"}
    with psycopg.connect(module_database, autocommit=True) as connection:
        land(connection, [at | {"userId": user} for user in ("ada", "ben", "cleo")])
        build(module_database, select=UNIFY, exclude="test_type:data", as_of=AS_OF)
        land(connection, [at | {"userId": "ada", "anonymousId": "browser"}])
    build(module_database, select=UNIFY, command="run", as_of=AS_OF)
    return module_database


@pytest.mark.parametrize("model", ["stg_events", "int_identifiers__judged"])
def test_what_reads_what_is_new_is_not_built_afresh_alone(standing: str, model: str) -> None:
    before = snapshot(standing)
    with pytest.raises(BuildError, match=rf"{model} cannot be built: .* afresh .*refresh --full"):
        build(standing, select=model, command="run", full_refresh=True, as_of=AS_OF)
    assert_equal(before, snapshot(standing))


def test_nor_after_its_table_was_dropped(standing: str) -> None:
    with psycopg.connect(standing) as connection:
        connection.execute("alter table unify.int_anchors__seen rename to dropped")
    with pytest.raises(BuildError, match=r"int_anchors__seen cannot be built: .* has no table"):
        build(standing, select="int_anchors__seen", command="run", as_of=AS_OF)
    with psycopg.connect(standing) as connection:
        connection.execute("alter table unify.dropped rename to int_anchors__seen")


@pytest.mark.parametrize("full_refresh", [False, True])
def test_a_public_table_is_built_again_from_what_stands(standing: str, full_refresh: bool) -> None:
    before = snapshot(standing)
    public = "profiles sessions events identifiers"
    build(standing, select=public, command="run", full_refresh=full_refresh, as_of=AS_OF)
    assert_equal(before, snapshot(standing))


@pytest.mark.parametrize("model", ["sessions", "watermark"])
def test_a_new_window_is_not_taken_with_a_model_alone(standing: str, model: str) -> None:
    with pytest.raises(BuildError, match=f"{model} cannot be built: refresh_window was selected"):
        build(standing, select=f"refresh_window {model}", command="run", as_of=AS_OF)


def test_the_watermark_does_not_pass_what_its_run_has_not_built(standing: str) -> None:
    before = snapshot(standing)
    published = Warehouse(standing).rows("select * from decide.watermark")
    build(standing, select="refresh_window", command="run", as_of=AS_OF)
    with pytest.raises(BuildError, match=r"watermark cannot be built: .*__touched yet"):
        build(standing, select="watermark", command="run", as_of=AS_OF)
    assert Warehouse(standing).rows("select * from decide.watermark") == published
    build(standing, select=UNIFY, command="run", as_of=AS_OF)
    assert_equal(before, snapshot(standing))
