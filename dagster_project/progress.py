"""How far a run is, for whoever started it and wants to show it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`name` has finished as number `number` of `total`."""

    name: str
    number: int
    total: int


OnStep = Callable[[Step], None]


def unobserved(_step: Step) -> None:
    """The OnStep of a run that nobody watches."""
