"""Texts that JSON libraries disagree about are refused, in linear time."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.strict_json import StrictJSONError, dumps, loads, loads_file

REFUSED = {
    "nothing": "",
    "no JSON": "hello",
    "two values": "{} {}",
    "NaN": '{"a":NaN}',
    "Infinity": '{"a":-Infinity}',
    "a float that overflows": '{"a":1e999}',
    "an integer of many digits": '{"a":' + "1" * 22 + "}",
    "a very long integer": '{"a":' + "1" * 5000 + "}",
    "a field named twice": '{"a":1,"a":1}',
    "a field named twice inside": '{"a":{"b":1,"b":2}}',
    "half a surrogate pair": '{"a":"\\ud800"}',
    "half a surrogate pair as a name": '{"\\udfff":1}',
    "nine deep": "[" * 9 + "]" * 9,
    "a hundred thousand deep": "[" * 100_000,
    "deep objects": '{"a":' * 50_000,
    "too many objects": "[" + ",".join(["{}"] * 200) + "]",
    "many quotes after brackets": "[" * 9 + '\\"' * 30_000,
    "an open string after brackets": "[]" * 9 + '"' + "\\\\" * 30_000,
    "too many strings": "[" * 9 + ",".join(['""'] * 20_000),
    "a control character in a string": '{"a":"\n"}',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(StrictJSONError):
        loads(text)


def test_brackets_inside_strings_are_no_nesting() -> None:
    assert loads('{"a":"' + "[" * 1000 + '\\"{"}') == {"a": "[" * 1000 + '"{'}


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert loads('"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


def test_our_own_files_may_hold_more_values_than_a_message() -> None:
    text = json.dumps([[[[{"a": index}]]] for index in range(1000)])
    assert loads_file(text)[999] == [[[{"a": 999}]]]
    with pytest.raises(StrictJSONError):
        loads_file("[" * (10 * sys.getrecursionlimit()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**19), 10**19) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=7,
)


@given(JSON.map(lambda value: [value]))
def test_reading_is_the_inverse_of_writing(value: list[object]) -> None:
    text = dumps(value)
    assert text.isascii()
    assert loads_file(text) == value


@given(st.text(alphabet='{}[]":,\\0eE+-.ntu "a', max_size=200))
def test_no_text_causes_another_error(text: str) -> None:
    try:
        value = loads(text)
    except StrictJSONError:
        return
    assert value == json.loads(text)


def test_infinity_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps({"a": float("inf")})
