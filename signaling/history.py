"""The evaluations of one run, one JSON object a line, bounded by thinning the older ones."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from signaling import strict_json
from signaling.coding import decode_evaluation
from signaling.errors import MessageError, StorageError
from signaling.files import storage, write_all, write_atomically
from signaling.limits import HISTORY_LINES_MAX
from signaling.messages import Evaluation

# Parsing 20,000 lines in full takes half a second, this a tenth. What it lets through is JSON for certain.
_FIELD = rb'"[a-z_]{1,20}":-?(?:0|[1-9]\d{0,20})(?:\.\d{1,20})?(?:[eE][-+]?\d{1,2})?'
_LINE = re.compile(rb"\{" + _FIELD + rb"(?:," + _FIELD + rb"){0,15}\}")


class History:
    """The file ``history.jsonl`` of a run, held in memory as lines.

    A line is appended with one write and not waited for: a crash of the server loses nothing, a power cut at most
    the last seconds. A torn or foreign line is left out when reading and taken out of the file by the next append.

    With more than `lines_max` lines, the older three quarters keep every second line: the whole curve stays, and
    its newest quarter in full.
    """

    __slots__ = ("_clean", "_lines", "_lines_max", "_path", "last", "skipped")

    def __init__(self, path: Path, *, lines_max: int = HISTORY_LINES_MAX) -> None:
        """Read the file; StorageError where it exists and cannot be read."""
        self._path = path
        self._lines_max = lines_max
        self._lines: list[bytes] = []
        self.last: Evaluation | None = None
        self.skipped = 0
        with storage(path):
            data = path.read_bytes() if path.exists() else b""
        for line in data.splitlines():
            if _LINE.fullmatch(line) is None:
                self.skipped += 1
            else:
                self._lines.append(line)
        while self._lines and self.last is None:
            self.last = _evaluation(self._lines[-1])
            if self.last is None:
                self._lines.pop()
                self.skipped += 1
        self._clean = data == b"".join(line + b"\n" for line in self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def tag(self) -> str:
        """A text that changes when the history does."""
        return f"{len(self._lines)}-{zlib.crc32(self._lines[-1]):08x}" if self._lines else "0"

    def append(self, evaluation: Evaluation) -> None:
        """Add one evaluation to the file and to memory, or raise StorageError and change neither."""
        line = strict_json.dumps(evaluation.fields()).encode("ascii")
        if not self._clean:
            write_atomically(self._path, b"".join(kept + b"\n" for kept in self._lines))
            self._clean = True
        self._append_line(line + b"\n")
        self._lines.append(line)
        self.last = evaluation
        if len(self._lines) > self._lines_max:
            self._thin()

    def points(self, count: int) -> Sequence[bytes]:
        """Give at most `count` lines, evenly spread, with the first and the last."""
        lines = self._lines
        if len(lines) <= count:
            return lines
        if count < 2:
            return lines[-count:] if count else []
        scale = (len(lines) - 1) / (count - 1)
        return [lines[round(index * scale)] for index in range(count)]

    def _append_line(self, line: bytes) -> None:
        with storage(self._path):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    write_all(descriptor, line)
                except OSError:
                    # Half a line would spoil the next one.
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)

    def _thin(self) -> None:
        older = len(self._lines) * 3 // 4
        kept = self._lines[:older:2] + self._lines[older:]
        try:
            write_atomically(self._path, b"".join(line + b"\n" for line in kept))
        except StorageError:
            # The line itself is kept; the next append tries again, and a full disk refuses that one first.
            return
        self._lines = kept


def _evaluation(line: bytes) -> Evaluation | None:
    try:
        value = strict_json.loads(line.decode("utf-8"))
        return decode_evaluation(value) if isinstance(value, dict) else None
    except (UnicodeDecodeError, strict_json.StrictJSONError, MessageError):
        return None
