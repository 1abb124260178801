"""What the commands print: JSON lines for scripts, short lines for people."""

from __future__ import annotations

import json
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


def short_bytes(count: float) -> str:
    """Return a count of bytes such as "12.3 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
