"""Large pages for the heap of a large world.

Which peer an event finds is as good as random, and nothing of it is in a cache. With pages of 4 KiB nearly half of the time of
such a touch goes into finding the page, since a processor remembers some thousand pages only; one of 2 MiB stands for 512 of
them. Linux gives them to a process that asks for them, and the memory allocators of Python do not ask.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = 1 << 21
# A smaller process has its pages known to the processor and its peers in the caches.
LARGE_FROM: Final = 64 * PAGE_BYTES
# A mapping that holds less than this share of its size (a stack, a reserve) would grow by what it does not hold.
FULL_FROM: Final = 0.95
# madvise: large pages from now on; and now, for what is there (Linux 6.1).
_HUGEPAGE: Final = 14
_COLLAPSE: Final = 25
_HEADER: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\S*)$")


class LargePages:
    """Asks for them as the process grows."""

    def __init__(self) -> None:
        self._from = LARGE_FROM

    def look(self) -> None:
        """Ask where there is a quarter more memory than when it was last asked, and enough to be worth it."""
        held = held_bytes()
        if held >= self._from:
            use_large_pages()
            self._from = held + held // 4


def held_bytes() -> int:
    """Return the memory that the process has in RAM; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def use_large_pages() -> int:
    """Put the process's own memory on large pages where the system has them; return the bytes that were asked for."""
    if sys.platform != "linux":
        return 0
    try:
        advise = ctypes.CDLL(None).madvise
        report = Path("/proc/self/smaps").read_text(encoding="ascii", errors="replace")
    except (OSError, AttributeError):
        return 0
    asked = 0
    for first, last in small_paged(report):
        length = last - first
        if advise(ctypes.c_void_p(first), ctypes.c_size_t(length), _HUGEPAGE) == 0:
            advise(ctypes.c_void_p(first), ctypes.c_size_t(length), _COLLAPSE)
            asked += length
    return asked


def small_paged(report: str) -> list[tuple[int, int]]:
    """Return (first, last) addresses, multiples of PAGE_BYTES, of the full private mappings that are on small pages."""
    found: list[tuple[int, int]] = []
    bounds: tuple[int, int] | None = None
    held = 0
    for line in report.splitlines():
        if header := _HEADER.match(line):
            bounds = (int(header[1], 16), int(header[2], 16)) if header[3] in ("", "[heap]") else None
        elif line[:1] in "0123456789abcdef":
            bounds = None
        elif bounds is not None and line.startswith("Rss:"):
            held = int(line.split()[1]) * 1024
        elif bounds is not None and line.startswith("AnonHugePages:"):
            large = int(line.split()[1]) * 1024
            first, last = -(-bounds[0] // PAGE_BYTES) * PAGE_BYTES, bounds[1] // PAGE_BYTES * PAGE_BYTES
            if first < last and held >= FULL_FROM * (bounds[1] - bounds[0]) and large < last - first:
                found.append((first, last))
    return found
