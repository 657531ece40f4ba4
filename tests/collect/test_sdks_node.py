"""The real Node SDKs, unmodified, against the real service with write keys."""

import os
import subprocess

import pytest

from tests.collect.sdk_packages import SDKS, install_sdks
from tests.collect.service import create_source, running

CALLS = ["alias", "group", "identify", "page", "screen", "track"]


@pytest.mark.parametrize(
    ("script", "kinds", "event_count"),
    [
        ("segment_node.cjs", CALLS, 46),
        ("rudder_node.cjs", CALLS, 46),
        ("jitsu_node.cjs", ["group", "identify", "page", "track"], 4),
    ],
)
def test_every_call_of_the_sdk_lands_once_under_its_source(
    database: str, script: str, kinds: list[str], event_count: int
) -> None:
    node_modules = install_sdks()
    key = create_source(database, "node")
    with running(database) as service:
        done = subprocess.run(
            ["node", str(SDKS / script), service.url, key],
            env=os.environ | {"NODE_PATH": str(node_modules)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")
        assert service.row("select count(*), count(distinct message_id) from raw.events") == (
            event_count,
            event_count,
        )
        assert service.rows("select distinct source from raw.events") == [("node",)]
        assert service.rows(
            "select type from raw.events where user_id = 'node-user' order by type"
        ) == [(kind,) for kind in kinds]
        assert service.row("select email from raw.events where type = 'identify'") == (
            "node@example.com",
        )
        assert service.row(
            "select payload #>> '{properties,total}' from raw.events"
            " where event = 'Order Completed'"
        ) == ("19.9",)
        assert service.row("select count(*) from raw.rejected_events") == (0,)
