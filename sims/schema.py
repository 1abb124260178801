"""Tables of settings with their checks: what a scenario's TOML is read with, and how a mistake is told with its line and key."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path as FilePath
from typing import Any, TypeVar

from meshlearn.errors import SettingsError, UserError
from sims.laws import EXPECTED as EXPECTED_LAW
from sims.laws import Law, law_from, law_to_json
from sims.toml_lines import Path, key_lines

_Table = TypeVar("_Table")
FILE_BYTES_MAX = 4 * 1024 * 1024
SHOWN_MAX = 60


@dataclass(frozen=True)
class Check:
    """How one value is read, and the words for what was expected."""

    read: Callable[[object], Any]
    expected: str
    table: type | None = None
    many: bool = False
    path: bool = False
    names: tuple[str, ...] = ()


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


def file(expected: str, *names: str) -> Any:
    """Declare the path of a file that is there, or one of some words; without words it may be left out."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not (value or "" in names):
            raise ValueError
        return value

    names = names or ("",)
    return field(default=names[0], metadata={"check": Check(read, expected, path=True, names=names)})


def value(default: Any, expected: str, read: Callable[[object], Any]) -> Any:
    """Declare a value with a reader of its own, which raises ValueError, or a SettingsError that says what is wrong."""
    return field(default_factory=lambda: default, metadata={"check": Check(read, expected)})


def table(kind: type[_Table]) -> Any:
    """Declare a table of settings."""
    check = Check(lambda value: value, f"a table [{kind.__name__.lower()}]", kind)
    return field(default_factory=kind, metadata={"check": check})


def tables(kind: type[_Table], expected: str) -> Any:
    """Declare a list of tables."""
    return field(default=(), metadata={"check": Check(lambda value: value, expected, kind, True)})


class Misfit(SettingsError):
    """A value that does not fit: what was expected, and the keys that it is about, the likeliest first.

    Keys are relative to the table that raises it; `read_table` and `Scenario.located` make an error with file and line of it.
    """

    def __init__(self, said: str, *paths: Path) -> None:
        self.said = said.rstrip(".")
        self.paths = paths or ((),)
        super().__init__(f'"{shown_key(self.paths[0])}": {self.said}.' if self.paths[0] else f"{self.said}.")


@contextmanager
def about(*paths: Path) -> Iterator[None]:
    """Turn what a part of the program says of a setting into a `Misfit` that names these keys."""
    try:
        yield
    except Misfit:
        raise
    except UserError as problem:
        raise Misfit(str(problem), *paths) from None


def shown_key(path: Path) -> str:
    """Return a key as `--set` takes it: entries of a list are counted from 0."""
    return ".".join(map(str, path))


class Place:
    """Where settings stand: finds file and line of a key for an error message."""

    def __init__(self, source: str, lines: Mapping[Path, int] | None = None, folder: FilePath | None = None) -> None:
        self.source = source
        self.lines = lines or {}
        self.folder = folder
        """What the paths in the settings are relative to; None for the working folder."""
        self.known: list[str] = []
        """Every dotted key that there is, to guess which one was meant; `read_table` fills it."""

    def where(self, path: Path) -> str:
        """Return file and line of a key, or of what it stands in."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.source}, line {self.lines[path]}" if path else self.source

    def refuse(self, said: str, *paths: Path) -> SettingsError:
        """Return the error that names file, line, key and what was expected: the first of the keys that was given."""
        path = next((path for path in paths if path in self.lines), paths[0] if paths else ())
        key = f'"{shown_key(path)}": ' if path else ""
        return SettingsError(f"{self.where(path)}: {key}{said.rstrip('.')}.")


class Changes(Place):
    """Settings that were changed one by one: an error names the change ("--set run.codec"), not a line."""

    def __init__(self, base: Place, given: Mapping[str, str]) -> None:
        super().__init__(base.source, base.lines, base.folder)
        self._given = {tuple(key.split(".")): where for key, where in given.items()}

    def refuse(self, said: str, *paths: Path) -> SettingsError:
        """See `Place`; a key that was not changed is told with all the changes."""
        for path in paths:
            dotted = tuple(map(str, path))
            for given, where in self._given.items():
                if all(mine in (theirs, "*") for mine, theirs in zip(given, dotted, strict=False)) and dotted:
                    return self._told(where, ".".join(dotted), said)
        key = shown_key(paths[0]) if paths and paths[0] else None
        return self._told(", ".join(self._given.values()) or self.source, key, said)

    @staticmethod
    def _told(where: str, key: str | None, said: str) -> SettingsError:
        told = key is None or where in (f"--{key}", f"--set {key}", f"changed {key}")
        name = "" if told else f'"{key}": '
        return SettingsError(f"{where}: {name}{said.rstrip('.')}.")


def load_toml(path: FilePath) -> tuple[dict[str, Any], Place]:
    """Read a TOML file; raises SettingsError where there is none or it is no TOML (with the line)."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise SettingsError(f"{path} is larger than {FILE_BYTES_MAX:,} bytes, which no scenario is.")
        document = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise SettingsError(f"{path} cannot be read: {getattr(problem, 'strerror', None) or 'it is not UTF-8'}.") from None
    return parse_toml(document, str(path), path.resolve().parent)


def parse_toml(document: str, source: str, folder: FilePath | None = None) -> tuple[dict[str, Any], Place]:
    """Parse TOML text; `source` names it in errors."""
    try:
        values = tomllib.loads(document)
    except tomllib.TOMLDecodeError as problem:
        raise _no_toml(document, source, str(problem)) from None
    except (RecursionError, ValueError):
        raise SettingsError(f"{source}: expected TOML, but a list or number in it is beyond all measure.") from None
    # A carriage return before the end of a line counts for nothing, as in the parser.
    return values, Place(source, key_lines(document.replace("\r\n", "\n")), folder)


def _no_toml(document: str, source: str, problem: str) -> SettingsError:
    lines = document.splitlines()
    found = re.search(r" \(at line (\d+), column \d+\)$", problem)
    number_of_line = int(found[1]) if found else max(len(lines), 1)
    said = re.sub(r" \(at [^()]*\)$", "", problem)
    line = lines[number_of_line - 1].strip() if number_of_line <= len(lines) else ""
    quoted = f' in "{line if len(line) <= SHOWN_MAX else line[: SHOWN_MAX - 3] + "..."}"' if line else ""
    return SettingsError(f"{source}, line {number_of_line}: expected TOML, but it is not{quoted}: {said[:1].lower()}{said[1:]}.")


def no_such_key(key: str, known: Iterable[str], dotted: Sequence[str] = ()) -> str:
    """Return what to say of a key that there is not, of those `known` in its table and of all `dotted` ones."""
    names = sorted(known)
    elsewhere: dict[str, str] = {}
    for whole in dotted:
        elsewhere.setdefault(whole.rpartition(".")[2], whole)
    near = [elsewhere[key]] if key in elsewhere else difflib.get_close_matches(key, names, 1)
    near = near or [elsewhere[name] for name in difflib.get_close_matches(key, elsewhere, 1)]
    guess = f'did you mean "{near[0]}"? ' if near else ""
    return f"there is no such key; {guess}expected one of {', '.join(names)}"


def read_table(kind: type[_Table], values: Mapping[str, Any], place: Place, path: Path = ()) -> _Table:
    """Return the table that `values` describe; raises SettingsError that names the line, the key and what was expected."""
    checks: dict[str, Check] = {entry.name: entry.metadata["check"] for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    read: dict[str, Any] = {}
    if not path:
        place.known = dotted_keys(kind)
    for key, value in values.items():
        where = (*path, key)
        if key not in checks:
            raise place.refuse(no_such_key(key, checks, place.known), where)
        read[key] = _read_value(checks[key], value, place, where)
    try:
        return kind(**read)
    except Misfit as problem:
        raise place.refuse(problem.said, *((*path, *inner) for inner in problem.paths)) from None


def dotted_keys(kind: type[Any]) -> list[str]:
    """Return every dotted key that the tables of a kind may have."""
    found: list[str] = []
    for entry in dataclasses.fields(kind):
        check: Check = entry.metadata["check"]
        if check.table is None:
            found.append(entry.name)
        else:
            star = ".*" if check.many else ""
            found += [f"{entry.name}{star}.{inner.name}" for inner in dataclasses.fields(check.table)]
    return found


def _read_value(check: Check, value: Any, place: Place, where: Path) -> Any:
    if check.table is not None:
        if check.many:
            if not isinstance(value, list | tuple) or not all(isinstance(entry, dict) for entry in value):
                raise place.refuse(f"expected {check.expected}, but it is {shown(value)}", where)
            return tuple(read_table(check.table, entry, place, (*where, index)) for index, entry in enumerate(value))
        if not isinstance(value, dict):
            raise place.refuse(f"expected {check.expected}, but it is {shown(value)}", where)
        return read_table(check.table, value, place, where)
    try:
        read = check.read(value)
        return _found_file(read, check, place) if check.path else read
    except Misfit as problem:
        raise place.refuse(problem.said, *((*where, *inner) for inner in problem.paths)) from None
    except SettingsError as problem:
        said = str(problem).rstrip(".")
        raise place.refuse(said if ", but it " in said else f"{said}, but it is {shown(value)}", where) from None
    except (ValueError, TypeError):
        raise place.refuse(f"expected {check.expected}, but it is {shown(value)}", where) from None


def _found_file(name: str, check: Check, place: Place) -> str:
    """Return the absolute path of a file that settings name, relative to the file they stand in; as it is where it is no path."""
    if name in check.names:
        return name
    path = (place.folder or FilePath()) / name
    try:
        there = path.exists()
    except (OSError, ValueError):
        there = False
    if not there:
        raise Misfit(f"expected {check.expected}, but there is no file {shown(str(path))}")
    return str(path.resolve()) if place.folder is not None else name


def shown(value: object) -> str:
    """Return a value as a file would have it, cut where it is long."""
    try:
        text = toml_value(value)
    except (ValueError, RecursionError):
        text = "a value too long to show"
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."


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
            lines.append(f"{_toml_key(key)} = {toml_value(value)}")
    return lines + later


def toml_value(value: Any) -> str:
    """Return one value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(key)} = {toml_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(entry) for entry in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, date | time):
        return value.isoformat()
    return repr(value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)
