"""Tables of settings with their checks: what a scenario's TOML is read with, and how a mistake is told with its line and key."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from meshlearn.errors import SettingsError
from sims.laws import EXPECTED as EXPECTED_LAW
from sims.laws import Law, law_from, law_to_json

_Table = TypeVar("_Table")
FILE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Check:
    """How one value is read, and the words for what was expected."""

    read: Callable[[object], Any]
    expected: str
    table: type | None = None
    many: bool = False


def number(default: float, low: float, high: float, unit: str = "") -> Any:
    """Declare a number from `low` to `high`."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError
        return float(value)

    return field(default=default, metadata={"check": Check(read, f"a number{unit and ' of ' + unit} from {low:g} to {high:g}")})


def whole(default: int, low: int, high: int, what: str = "") -> Any:
    """Declare a whole number from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return field(
        default=default, metadata={"check": Check(read, f"a whole number{what and ' of ' + what} from {low:,} to {high:,}")}
    )


def flag(default: bool) -> Any:
    """Declare true or false."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return field(default=default, metadata={"check": Check(read, "true or false")})


def choice(default: str, *names: str) -> Any:
    """Declare one of some words."""

    def read(value: object) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return field(default=default, metadata={"check": Check(read, "one of " + ", ".join(f'"{name}"' for name in names))})


def text(default: str = "", expected: str = "text") -> Any:
    """Declare text."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        return value

    return field(default=default, metadata={"check": Check(read, expected)})


def law(default: Law | None) -> Any:
    """Declare a law (or a number); None where leaving it out means that it does not happen."""
    return field(default=default, metadata={"check": Check(law_from, EXPECTED_LAW)})


def anything(default: Any, expected: str, kinds: tuple[type, ...]) -> Any:
    """Declare a value of one of some kinds, which somebody else checks."""

    def read(value: object) -> Any:
        if not isinstance(value, kinds):
            raise ValueError
        return value

    return field(default_factory=lambda: default, metadata={"check": Check(read, expected)})


def table(kind: type[_Table]) -> Any:
    """Declare a table of settings."""
    check = Check(lambda value: value, f"a table [{kind.__name__.lower()}]", kind)
    return field(default_factory=kind, metadata={"check": check})


def tables(kind: type[_Table], expected: str) -> Any:
    """Declare a list of tables."""
    return field(default=(), metadata={"check": Check(lambda value: value, expected, kind, True)})


class Place:
    """Where in a file a key stands: finds its line for an error message."""

    def __init__(self, source: str, document: str) -> None:
        self._source = source
        self._lines = _key_lines(document)

    def refuse(self, path: Sequence[str | int], said: str) -> SettingsError:
        """Return the error that names file, line, key and what was expected."""
        shown = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        known = tuple(path)
        while known and known not in self._lines:
            known = known[:-1]
        line = f", line {self._lines[known]}" if known else ""
        return SettingsError(f'{self._source}{line}: "{shown}": {said}.')


def _key_lines(document: str) -> dict[tuple[str | int, ...], int]:
    """Return the line of each key and table header; what stands in an inline table has the line of its key."""
    lines: dict[tuple[str | int, ...], int] = {}
    counts: dict[str, int] = {}
    prefix: tuple[str | int, ...] = ()
    for number_of_line, line in enumerate(document.splitlines(), 1):
        if header := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
            name = header[1]
            counts[name] = counts.get(name, -1) + 1
            prefix = (*name.split("."), counts[name])
        elif header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            prefix = tuple(header[1].split("."))
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            lines.setdefault((*prefix, *key[1].split(".")), number_of_line)
            continue
        else:
            continue
        lines.setdefault(prefix, number_of_line)
    return lines


def load_toml(path: Path) -> tuple[dict[str, Any], Place]:
    """Read a TOML file; raises SettingsError where there is none or it is no TOML (with the line)."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise SettingsError(f"{path} is larger than {FILE_BYTES_MAX} bytes, which no scenario is.")
        document = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path} cannot be read: {getattr(problem, 'strerror', None) or 'it is not UTF-8'}.") from None
    return parse_toml(document, str(path))


def parse_toml(document: str, source: str) -> tuple[dict[str, Any], Place]:
    """Parse TOML text; `source` names it in errors."""
    try:
        return tomllib.loads(document), Place(source, document)
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(f"{source}: {problem}.") from None


def read_table(kind: type[_Table], values: Mapping[str, Any], place: Place, path: tuple[str | int, ...] = ()) -> _Table:
    """Return the table that `values` describe; raises SettingsError that names the line, the key and what was expected."""
    checks: dict[str, Check] = {entry.name: entry.metadata["check"] for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    read: dict[str, Any] = {}
    for key, value in values.items():
        where = (*path, key)
        if key not in checks:
            raise place.refuse(where, f"there is no such key; expected one of {', '.join(sorted(checks))}")
        read[key] = _read_value(checks[key], value, place, where)
    try:
        return kind(**read)
    except SettingsError as problem:
        raise place.refuse(path, str(problem).rstrip(".")) from None


def _read_value(check: Check, value: Any, place: Place, where: tuple[str | int, ...]) -> Any:
    if check.table is not None:
        if check.many:
            if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
                raise place.refuse(where, f"expected {check.expected}, but it is {_shown(value)}")
            return tuple(read_table(check.table, entry, place, (*where, index)) for index, entry in enumerate(value))
        if not isinstance(value, dict):
            raise place.refuse(where, f"expected {check.expected}, but it is {_shown(value)}")
        return read_table(check.table, value, place, where)
    try:
        return check.read(value)
    except SettingsError as problem:
        raise place.refuse(where, f"{str(problem).rstrip('.')}, but it is {_shown(value)}") from None
    except (ValueError, TypeError):
        raise place.refuse(where, f"expected {check.expected}, but it is {_shown(value)}") from None


def _shown(value: object) -> str:
    shown = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def to_plain(settings: Any) -> Any:
    """Return a table of settings as plain values, as TOML or JSON would have it; what is None is left out."""
    if isinstance(settings, Law):
        return law_to_json(settings)
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        pairs = ((entry.name, getattr(settings, entry.name)) for entry in dataclasses.fields(settings))
        return {name: to_plain(value) for name, value in pairs if value is not None and value != ()}
    if isinstance(settings, dict):
        return {key: to_plain(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [to_plain(entry) for entry in settings]
    return settings


def to_toml(plain: Mapping[str, Any]) -> str:
    """Return plain values as TOML: simple keys first, then tables and lists of tables."""
    return "\n".join(_toml_lines(plain, ())) + "\n"


def _toml_lines(plain: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    later: list[str] = []
    for key, value in plain.items():
        name = ".".join((*path, key))
        if isinstance(value, dict) and not path and "law" not in value:
            later += ["", f"[{name}]", *_toml_lines(value, (*path, key))]
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value) and not path:
            for entry in value:
                later += ["", f"[[{name}]]", *_toml_lines(entry, (*path, key))]
        else:
            lines.append(f"{key} = {_toml_value(value)}")
    return lines + later


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(entry) for entry in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return repr(value)
