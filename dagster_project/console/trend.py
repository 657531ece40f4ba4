"""The size of an audience over its builds, as a small picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WIDTH, HEIGHT, MARGIN = 120, 28, 2


@dataclass(frozen=True)
class Trend:
    """`points` is a line within WIDTH x HEIGHT, for an SVG; the counts are of members."""

    points: str
    first_count: int
    last_count: int
    first_at: datetime
    last_at: datetime
    build_count: int

    @property
    def change(self) -> int:
        return self.last_count - self.first_count


def trend_of(builds: Sequence[Mapping[str, Any]]) -> Trend:
    """The trend over builds, at least one, oldest first."""
    counts = [int(build["member_count"]) for build in builds]
    least, greatest = min(counts), max(counts)
    across = (WIDTH - 2 * MARGIN) / max(len(counts) - 1, 1)
    up = (HEIGHT - 2 * MARGIN) / max(greatest - least, 1)
    middle = HEIGHT / 2 if greatest == least else None
    # One build is a line too, not a point that nobody sees.
    drawn = counts if len(counts) > 1 else counts * 2
    across = across if len(counts) > 1 else WIDTH - 2 * MARGIN
    points = " ".join(
        f"{MARGIN + index * across:.1f},{middle or HEIGHT - MARGIN - (count - least) * up:.1f}"
        for index, count in enumerate(drawn)
    )
    return Trend(
        points=points,
        first_count=counts[0],
        last_count=counts[-1],
        first_at=builds[0]["built_at"],
        last_at=builds[-1]["built_at"],
        build_count=len(counts),
    )
