"""In which line of a TOML file each key stands, which the standard library's parser does not tell."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress

Path = tuple[str | int, ...]
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[^,\]}\r\n#]*")
# The longest first: three quotes are no empty text followed by a quote.
_TEXTS = [
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
]


def key_lines(document: str) -> dict[Path, int]:
    """Return the line, from 1, of every key, table, list and entry of a list; the document is valid TOML."""
    scanner = _Scanner(document)
    # Of what is nested beyond all measure, the lines found so far are good enough to tell a mistake.
    with suppress(RecursionError, IndexError):
        scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, document: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = document
        self._at = 0
        self._breaks = [index for index, letter in enumerate(document) if letter == "\n"]
        self._counts: dict[Path, int] = {}

    def document(self) -> None:
        prefix: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text.startswith("[[", self._at):
                *outer, name = self._header("[[", "]]")
                path = (*self._resolved(outer), name)
                self._counts[path] = self._counts.get(path, -1) + 1
                self._mark(path)
                prefix = (*path, self._counts[path])
                self._mark(prefix)
            elif self._text[self._at] == "[":
                prefix = self._resolved(self._header("[", "]"))
                self._mark(prefix)
            else:
                self._pair(prefix)

    def _header(self, opening: str, closing: str) -> list[str]:
        self._at += len(opening)
        names = self._key()
        self._at += len(closing)
        return names

    def _resolved(self, names: list[str]) -> Path:
        """Return the path of a table's name; in a list of tables the last one so far is meant."""
        path: Path = ()
        for name in names:
            path = (*path, name)
            self._mark(path)
            if path in self._counts:
                path = (*path, self._counts[path])
        return path

    def _mark(self, path: Path) -> None:
        self.lines.setdefault(path, bisect_right(self._breaks, self._at - 1) + 1)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at

    def _key(self) -> list[str]:
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._text[start] in "\"'":
                self._quoted()
                quoted = self._text[start : self._at]
                names.append(_unquoted(quoted))
            else:
                names.append(self._text[start : self._skip(_BARE)])
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _pair(self, prefix: Path) -> None:
        start = self._at
        names = self._key()
        after, self._at = self._at, start
        for count in range(1, len(names) + 1):
            self._mark((*prefix, *names[:count]))
        self._at = after + 1
        self._skip(_SPACE)
        self._value((*prefix, *names))

    def _value(self, path: Path) -> None:
        self._mark(path)
        letter = self._text[self._at]
        if letter in "\"'":
            self._quoted()
        elif letter == "[":
            self._members("]", lambda index: self._value((*path, index)))
        elif letter == "{":
            self._members("}", lambda _: self._pair(path))
        else:
            self._skip(_PLAIN)

    def _members(self, closing: str, read: Callable[[int], None]) -> None:
        self._at += 1
        count = 0
        while self._text[self._skip(_BLANK)] != closing:
            if self._text[self._at] == ",":
                self._at += 1
                continue
            read(count)
            count += 1
        self._at += 1

    def _quoted(self) -> None:
        for pattern in _TEXTS:
            found = pattern.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                return
        raise IndexError


def _unquoted(quoted: str) -> str:
    if quoted.startswith("'"):
        return quoted[1:-1]
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1]
