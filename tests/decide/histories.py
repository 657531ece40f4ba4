"""Invented histories of many small worlds at once, cut at several places.

One dbt build answers for all worlds, and each world is a history of its own: its people share
browsers, addresses and bad habits with one another and with nobody else.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

# Everything has happened by then; earlier builds answer for earlier days.
AS_OF = datetime(2026, 3, 31, 12, tzinfo=UTC)
FIRST_RECEIVED = AS_OF - timedelta(days=45)


def histories(seed: int, world_count: int, event_count: int) -> list[list[dict[str, Any]]]:
    """`world_count` histories of about `event_count` events, in the order of their landing."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible history
    return [
        list(_world(chance, world, chance.randrange(event_count // 2, event_count * 3 // 2)))
        for world in range(world_count)
    ]


def interleaved(worlds: list[list[dict[str, Any]]], seed: int) -> list[dict[str, Any]]:
    """One order of landing, in which each world keeps its own."""
    chance = random.Random(seed)  # noqa: S311
    owners = [number for number, world in enumerate(worlds) for _event in world]
    chance.shuffle(owners)
    remaining = [iter(world) for world in worlds]
    return [next(remaining[number]) for number in owners]


def _world(chance: random.Random, world: int, event_count: int) -> Iterator[dict[str, Any]]:
    now = FIRST_RECEIVED
    size = chance.choice([2, 4, 8])
    for number in range(event_count):
        now = min(now + timedelta(minutes=chance.choice([1, 10, 29, 30, 31, 300, 4000])), AS_OF)
        yield _event(chance, world, number, size, now)


def _event(
    chance: random.Random, world: int, number: int, size: int, received_at: datetime
) -> dict[str, Any]:
    repeated = chance.random() < 0.08
    minutes = timedelta(minutes=chance.randrange(90))
    late = chance.choice([timedelta(0), minutes, timedelta(days=40)])
    event: dict[str, Any] = {
        "messageId": f"w{world}-{chance.randrange(number + 1) if repeated else number}",
        "receivedAt": received_at.isoformat(),
        "timestamp": (received_at - (late if chance.random() < 0.4 else timedelta(0))).isoformat(),
    }
    if chance.random() < 0.5:
        event["userId"] = chance.choice([*(f"w{world}-u{n}" for n in range(size)), "null"])
    if chance.random() < 0.7:
        browsers = [f"w{world}-b{n}" for n in range(size * 2)]
        event["anonymousId"] = chance.choice([*browsers, f"w{world}-kiosk", "0000"])
    traits: dict[str, Any] = {}
    if chance.random() < 0.35:
        traits["email"] = f"w{world}-{chance.choice([0, 0, *range(size)])}@example.org"
    if chance.random() < 0.15:
        traits["phone"] = f"+4915{world:05}{chance.randrange(3)}"
    kind = chance.random()
    if kind < 0.25:
        traits["plan"] = chance.choice(["gold", "tin", None, {"tier": 1}])
        context = {"traits": {"plan": "silver", "seat": chance.randrange(3)}}
        return event | {"type": "identify", "traits": traits, "context": context}
    event["context"] = {"traits": traits}
    if kind < 0.32:
        known = [f"w{world}-b{chance.randrange(size)}", f"w{world}-u{chance.randrange(size)}"]
        return event | {"type": "alias", "previousId": chance.choice(known)}
    if kind < 0.5:
        return event | {"type": "page", "name": "Home"}
    if kind < 0.6:
        viewed = {"category": chance.choice(["shoes", "books"])}
        return event | {"type": "track", "event": "Product Viewed", "properties": viewed}
    order: dict[str, Any] = {"order_id": f"w{world}-o{chance.randrange(size * 2)}"}
    if chance.random() < 0.1:
        order = {}
    if kind < 0.88:
        order["total"] = chance.choice([0, 5, 12.5, 300, "7.25", "12,50", None, -3])
        order["currency"] = chance.choice(["USD", "EUR", "JPY", "XSH"])
        return event | {"type": "track", "event": "Order Completed", "properties": order}
    order |= chance.choice([{}, {"total": 3}, {"total": 100}, {"total": "much"}])
    return event | {"type": "track", "event": "Order Refunded", "properties": order}
