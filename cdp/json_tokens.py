"""The parts of JSON that say where its values begin and end, found without parsing it."""

import re
from itertools import accumulate

# Lists and objects in each other, the outermost included. Python's parsers recurse, and how deep
# they get depends on who calls them: what is taken in must be readable by everybody.
MAX_DEPTH = 100

# A text, so that no bracket or comma in it counts, or a bracket or comma. A text that is never
# closed is one token to the end; nothing is tried twice (the `+` after `*`): the search is linear.
_TEXT = rb'"(?:[^"\\]|\\.)*+"?'
TOKENS = re.compile(_TEXT + rb"|[\[\]{},]", re.DOTALL)
_TEXTS = re.compile(_TEXT, re.DOTALL)

_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def is_deeper(body: bytes | bytearray, levels: int) -> bool:
    """Whether JSON has lists and objects in more than so many levels. Linear, not recursive."""
    if body.count(b"[") + body.count(b"{") <= levels:
        return False
    steps = _TEXTS.sub(b"", body).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > levels


def cut_below(body: bytes, levels: int) -> bytes:
    """JSON with null in place of each list or object that is deeper than so many levels."""
    if not is_deeper(body, levels):
        return body
    pieces: list[bytes] = []
    kept_to = depth = 0
    for token in TOKENS.finditer(body):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
            if depth == levels + 1:
                pieces += [body[kept_to : token.start()], b"null"]
        elif text in (b"}", b"]"):
            if depth == levels + 1:
                kept_to = token.end()
            depth -= 1
    return b"".join([*pieces, body[kept_to:]])
