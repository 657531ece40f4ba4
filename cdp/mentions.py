"""Finding people in free text: payloads, quarantined bodies, logs of decisions, files.

An e-mail address, a phone number or an id of at least eight characters with a digit among them
names somebody wherever it stands. Any other id (`42`, `visitor`) is only told from a quantity or a
word by its place, so it is looked for in the columns and under the JSON keys that hold ids.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cdp.erasure_requests import Identifier

DISTINCTIVE_LENGTH = 8
ERASED = "[erased]"
# Not in the middle of a longer word, number or address.
BEFORE, AFTER = r"(?<![0-9A-Za-z._%+-])", r"(?![0-9A-Za-z_-]|\.[0-9A-Za-z])"
ID_KEYS = "userId|user_id|anonymousId|anonymous_id|previousId|previous_id"


@dataclass(frozen=True)
class Mentions:
    """Patterns that PostgreSQL and Python read alike; both are matched without regard to case.

    `anywhere` finds what names somebody wherever it stands, None when nothing of the kind is
    looked for. `as_id` finds a JSON key for ids with one of the ids as its value.
    """

    anywhere: str | None
    as_id: str | None

    def are_in(self, text: str) -> bool:
        """Whether a text names somebody."""
        return any(
            pattern is not None and re.search(pattern, text, re.IGNORECASE) is not None
            for pattern in (self.anywhere, self.as_id)
        )

    @property
    def either(self) -> str | None:
        """One pattern for both, None when nobody is looked for."""
        return "|".join(pattern for pattern in (self.anywhere, self.as_id) if pattern) or None


def mentions_of(identifiers: Iterable[Identifier], profile_ids: Iterable[str] = ()) -> Mentions:
    """What to look for when these identifiers, and the profiles of these ids, are to be gone."""
    named = list(identifiers)
    distinctive = {
        _pattern(value)
        for kind, value in named
        if kind in ("email", "phone") or _is_distinctive(value)
    } | set(map(re.escape, profile_ids))
    ids = {_escaped(value) for kind, value in named if kind in ("user_id", "anonymous_id")}
    return Mentions(
        f"{BEFORE}(?:{'|'.join(sorted(distinctive))}){AFTER}" if distinctive else None,
        rf'"(?:{ID_KEYS})"\s*:\s*"?\s*(?:{"|".join(sorted(ids))})\s*"?\s*[,}}]' if ids else None,
    )


def _is_distinctive(value: str) -> bool:
    return "@" in value or (len(value) >= DISTINCTIVE_LENGTH and bool(re.search("[0-9]", value)))


def _pattern(value: str) -> str:
    # As it is sent in the address of a page, too.
    return _escaped(value).replace("@", "(?:@|%40)")


def _escaped(value: str) -> str:
    """As it stands in plain text and between the quotes of JSON."""
    forms = {value, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]}
    return "|".join(sorted(map(re.escape, forms)))
