"""Reading JSON that somebody else wrote: bounded, finite, without repeated keys, and every field of the
kind expected.

Python's ``json`` accepts ``NaN``, turns ``1e999`` into infinity, keeps the last of two equal keys and
raises ``RecursionError`` on deep nesting. Here each of those is one plain sentence, raised as the error
class that the caller names (:class:`~meshlearn.errors.SettingsError` for specifications,
:class:`~meshlearn.errors.DataError` for manifests).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from meshlearn.errors import UserError

JSON_BYTES_MAX = 16 * 1024 * 1024  # 65,536 shards of about 120 bytes each are 8 MiB
SHOWN_CHARACTERS_MAX = 40


def shown(value: object) -> str:
    """``value`` as JSON for an error message, cut where it is long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 3] + "..."


def read_object(document: dict[str, Any] | str | bytes, what: str, error: type[UserError]) -> dict[str, Any]:
    """The JSON object in ``document``; ``what`` names it in the sentence of ``error``."""
    if isinstance(document, dict):
        return document
    if not isinstance(document, str | bytes):  # a part of a manifest that somebody else wrote
        raise error(f"{what} must be an object, but it is {shown(document)}.")
    if len(document) > JSON_BYTES_MAX:
        raise error(f"{what} is larger than {JSON_BYTES_MAX} bytes, which no sound one is.")
    try:
        value = json.loads(document, parse_constant=_refuse_constant, parse_float=_number, object_pairs_hook=_distinct)
    except RecursionError:
        raise error(f"{what} is nested too deeply.") from None
    except ValueError as problem:  # JSONDecodeError and UnicodeDecodeError among them
        raise error(f"{what} is not valid JSON: {problem}.") from None
    if not isinstance(value, dict):
        raise error(f"{what} must be a JSON object, but it is {shown(value)}.")
    return value


def only_keys(fields: dict[str, Any], allowed: Iterable[str], required: Iterable[str], what: str, error: type[UserError]) -> None:
    """Refuse unknown keys and missing ones, naming the first of each in the order of the document."""
    allowed, required = list(allowed), list(required)
    for key in fields:
        if key not in allowed:
            raise error(f"{what} has an unknown key {shown(key)}; it may have {', '.join(allowed)}.")
    for key in required:
        if key not in fields:
            raise error(f'{what} needs "{key}".')


def whole(value: object, low: int, high: int, what: str, error: type[UserError]) -> int:
    """``value`` as an int from ``low`` to ``high``; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise error(f"{what} must be a whole number from {low} to {high}, but it is {shown(value)}.")
    return value


def number(value: object, low: float, high: float, what: str, error: type[UserError]) -> float:
    """``value`` as a finite float from ``low`` to ``high``, both included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise error(f"{what} must be a number from {low:g} to {high:g}, but it is {shown(value)}.")
    return float(value)


def text(value: object, characters_max: int, what: str, error: type[UserError]) -> str:
    """``value`` as a string of at most ``characters_max`` characters."""
    if not isinstance(value, str) or len(value) > characters_max:
        raise error(f"{what} must be text of at most {characters_max} characters, but it is {shown(value)}.")
    return value


def shape(value: object, what: str, error: type[UserError]) -> tuple[int, ...]:
    """``value`` as the shape of one example: one to four whole numbers, at most 2**24 values in all."""
    if isinstance(value, list | tuple) and 1 <= len(value) <= 4:
        sizes = tuple(value)
        if all(type(n) is int and 1 <= n <= 65_536 for n in sizes) and math.prod(sizes) <= 2**24:
            return sizes
    raise error(f"{what} must be a list of one to four sizes such as [28, 28, 1], but it is {shown(value)}.")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _number(literal: str) -> float:
    """A number with a fraction or an exponent. JSON has one kind of numbers: 64.0 is the whole number 64."""
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(f"{literal[:SHOWN_CHARACTERS_MAX]} is too large")
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return fields
