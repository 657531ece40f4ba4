"""A platform with people in it, served as on one machine: both HTTP sides, the console on top."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cdp.local import BothSides
from cdp.settings import Settings
from tests.collect.service import Service, listening, served

# Each sets window.attacked when a page takes it for more than text.
SCRIPTS = (
    "<script>window.attacked = 1</script>",
    '"><img src=x onerror="window.attacked = 1">',
    "'><svg onload=window.attacked=1>",
    "{{ 7 * 7 }}<b hx-get='/console/login' hx-trigger='load'>",
)
PEOPLE = 130


def events() -> list[dict[str, Any]]:
    """Ada on two devices, Mallory who sends scripts, and enough others for three pages."""
    now = datetime.now(UTC)

    def at(**ago: float) -> str:
        return (now - timedelta(**ago)).isoformat()

    ada = {"userId": "ada", "context": {"traits": {"email": "ada@example.org"}}}
    mallory = {"userId": SCRIPTS[0]}
    return [
        {"type": "page", "anonymousId": "ada-phone", "timestamp": at(days=3)},
        {"type": "identify", "anonymousId": "ada-phone", **ada, "timestamp": at(days=2)},
        {"type": "identify", "anonymousId": "ada-laptop", **ada, "timestamp": at(days=1)},
        order(ada, "ada-1", 1320, at(hours=5)),
        {
            "type": "identify",
            **mallory,
            "traits": {f"trait {text}": text for text in SCRIPTS},
            "timestamp": at(hours=4),
        },
        *(
            {
                "type": "track",
                "event": text,
                **mallory,
                "properties": {text: {"deep": text}},
                "timestamp": at(hours=3, minutes=number),
            }
            for number, text in enumerate(SCRIPTS)
        ),
        *(
            order({"userId": f"person-{number:03}"}, f"o-{number}", 20, at(days=4, minutes=number))
            for number in range(PEOPLE)
        ),
        *(
            {
                **ada,
                "type": "track",
                "event": f"Step {number}",
                "timestamp": at(days=1, minutes=number),
            }
            for number in range(60)
        ),
    ]


def order(who: dict[str, Any], order_id: str, amount: float, at: str) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Order Completed",
        **who,
        "timestamp": at,
        "properties": {"order_id": order_id, "amount": amount},
    }


@contextlib.contextmanager
def running_platform(
    database: str, home: Path, *, port: int = 0, **settings: Any
) -> Iterator[Service]:
    """Serve both sides and the console on one port until the end of the block."""
    with listening(port) as listener:
        chosen = Settings(
            DATABASE_URL=database, home=home, port=listener.getsockname()[1], **settings
        )
        with served(BothSides(chosen), listener, database) as service:
            yield service
