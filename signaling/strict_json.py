"""JSON without its traps: no NaN, no infinity, no duplicate keys, no deep nesting, no lone surrogates.

Python's ``json`` accepts ``NaN``, turns ``1e999`` into ``inf``, keeps the last of two equal keys and raises
RecursionError on ``[[[[...``: nothing that two programs would agree on (RFC 8259).
"""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring_ascii as quote
from typing import Any, NoReturn

from signaling.limits import JSON_CONTAINERS_MAX, JSON_DEPTH_MAX, JSON_INTEGER_CHARS_MAX, JSON_TOKENS_MAX

# A string matches even where its closing quote is missing: otherwise every quote of a broken text would start
# a scan to the end, which is quadratic.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class StrictJSONError(ValueError):
    """Text that is not strict JSON; the message is the end of a sentence that begins with "The message"."""


def loads(text: str) -> Any:
    """Parse a message; every failure is a StrictJSONError, whatever the text."""
    # With so few brackets and commas no text can be too deep or too long, which is the case of most honest messages.
    if text.count("{") + text.count("[") > JSON_DEPTH_MAX or text.count(",") > JSON_TOKENS_MAX // 8:
        _check_nesting(text)
    return loads_file(text)


def loads_file(text: str) -> Any:
    """Parse a file of our own, which may hold more values than a message; failures as in :func:`loads`."""
    try:
        value = _DECODER.decode(text)
    except StrictJSONError:
        raise
    except (ValueError, RecursionError):
        raise StrictJSONError("is not JSON") from None
    if "\\" in text and "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise StrictJSONError("holds half of a surrogate pair")
    return value


def dumps(value: Any) -> str:
    """Write `value` compactly in ASCII; ValueError where it holds NaN or infinity."""
    return _ENCODER.encode(value)


def _check_nesting(text: str) -> None:
    depth = containers = 0
    # The number of tokens is bounded too: a text of 20,000 short strings or numbers must not cost many milliseconds.
    tokens_left = JSON_TOKENS_MAX
    for match in _TOKEN.finditer(text):
        tokens_left -= 1
        token = match[0]
        if token in ("{", "["):
            depth += 1
            containers += 1
            if depth > JSON_DEPTH_MAX:
                raise StrictJSONError(f"is nested more than {JSON_DEPTH_MAX} deep")
        elif token in ("}", "]"):
            depth -= 1
        if containers > JSON_CONTAINERS_MAX or tokens_left < 0:
            raise StrictJSONError("holds too many values")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise StrictJSONError("names a field twice")
    return result


def _integer(text: str) -> int:
    if len(text) > JSON_INTEGER_CHARS_MAX:
        raise StrictJSONError("holds an integer of too many digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise StrictJSONError("holds a number that is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise StrictJSONError(f"holds {name}, which is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant)
# quote(text) writes one string as JSON does.
__all__ = ["StrictJSONError", "dumps", "loads", "loads_file", "quote"]
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
