"""How deep JSON is, and cutting what is too deep: as a parser that recurses would say."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdp.json_tokens import cut_below, is_deeper

TEXTS = st.text(alphabet='[]{},"\\\\a\u00e9', max_size=6)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


def depth(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


def cut(value: Any, levels: int) -> Any:
    if not isinstance(value, list | dict):
        return value
    if levels == 0:
        return None
    if isinstance(value, dict):
        return {name: cut(item, levels - 1) for name, item in value.items()}
    return [cut(item, levels - 1) for item in value]


@given(value=VALUES, levels=st.integers(0, 6))
def test_depth_and_cut_are_those_of_the_parsed_value(value: Any, levels: int) -> None:
    body = json.dumps(value).encode()
    assert is_deeper(body, levels) == (depth(value) > levels)
    assert json.loads(cut_below(body, levels)) == cut(value, levels)


def test_what_stands_beside_a_cut_keeps_every_byte() -> None:
    assert cut_below(b'{"a": [1.90, [[2]], {}], "b": 19.90}', 2) == (
        b'{"a": [1.90, null, null], "b": 19.90}'
    )


def test_any_depth_is_taken() -> None:
    body = b"[" * 1_000_000 + b"]" * 1_000_000
    assert is_deeper(body, 999_999)
    assert not is_deeper(body, 1_000_000)
    assert cut_below(body, 1) == b"[null]"
