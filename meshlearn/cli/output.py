"""What the commands print: JSON lines for scripts, short lines and a QR code for people."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any


def print_json(fields: dict[str, Any]) -> None:
    """Write one JSON object on one line of standard output, at once."""
    sys.stdout.write(json.dumps(fields, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Write a line to standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class StatusLine:
    """A line that is written again and again in its place on a terminal; elsewhere a new line, every `every`-th time."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._count = 0
        self._terminal = sys.stdout.isatty()

    def show(self, text: str) -> None:
        """Show the text as it is now, cut to the terminal's width."""
        if self._terminal:
            sys.stdout.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stdout.flush()
        elif self._count % self._every == 0:
            print_line(text)
        self._count += 1

    def clear(self) -> None:
        """Take the line away, so that another can be printed."""
        if self._terminal and self._count:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()


def short_bytes(count: float) -> str:
    """Return a count of bytes such as "12.3 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def qr_code(text: str) -> list[str]:
    """Return the lines of a QR code, two rows of modules a line, light on dark as a terminal is, with its quiet zone."""
    import segno

    rows = [list(row) for row in segno.make(text, micro=False, error="l").matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    # A light module is drawn and a dark one is left out.
    halves = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    return [
        "".join(halves[int(bool(upper)), int(bool(lower))] for upper, lower in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]


def print_qr_code(text: str) -> bool:
    """Print a QR code of `text` where the terminal has room for it; return whether it has."""
    lines = qr_code(text)
    size = shutil.get_terminal_size()
    if not sys.stdout.isatty() or size.columns < len(lines[0]) or size.lines < len(lines):
        return False
    for line in lines:
        # White on black, whatever the terminal's own colours are: an inverted code is not read by every phone.
        print_line(f"\x1b[38;5;231;48;5;16m{line}\x1b[0m")
    return True
