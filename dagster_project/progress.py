"""How far a run is, for whoever started it and wants to show it."""

from collections.abc import Callable

# Called with what has finished, as number so-and-so of so many.
OnStep = Callable[[str, int, int], None]


def unobserved(_name: str, _number: int, _total: int) -> None:
    """The OnStep of a run that nobody watches."""
