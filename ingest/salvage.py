"""Finding the items of a batch whose body as a whole is not valid JSON.

Some SDKs write NaN for a missing number, and a text may hold bytes that are not UTF-8. One such
item must not cost its neighbours, so the body is cut at the commas between the items without
parsing them; each piece then succeeds or fails by itself.
"""

import re

from cdp.json_tokens import TOKENS
from ingest.rejection import RejectionError

_OPENS_ARRAY = re.compile(rb"\s*:\s*(?=\[)")


def split_batch(body: bytes) -> tuple[bytes, list[bytes]]:
    """Return the body with its `batch` emptied, and the pieces that stood in it.

    Not recursive, linear in the size of the body. Raises RejectionError where the brackets do not
    add up, for example in a body that was cut off.
    """
    depth = 0
    array_start = item_start = -1
    pieces: list[bytes] = []
    for token in TOKENS.finditer(body):
        text = token.group()
        if text in (b"[", b"{"):
            depth += 1
            if array_start == token.start():
                item_start = token.end()
        elif text == b",":
            if item_start >= 0 and depth == 2:
                pieces.append(body[item_start : token.start()].strip())
                item_start = token.end()
        elif text in (b"]", b"}"):
            depth -= 1
            if item_start >= 0 and depth == 1:
                last = body[item_start : token.start()].strip()
                if last or pieces:
                    pieces.append(last)
                return body[:array_start] + b"[]" + body[token.end() :], pieces
        elif depth == 1 and text == b'"batch"' and (opens := _OPENS_ARRAY.match(body, token.end())):
            array_start = opens.end()
    raise RejectionError("malformed_json", "The body is not valid JSON.")
