"""A large world's memory is put on large pages: what is full, what is its own, and nothing else."""

from __future__ import annotations

import sys

import numpy as np

from sims import pages
from sims.pages import LARGE_FROM, PAGE_BYTES, LargePages, held_bytes, small_paged, use_large_pages

MIB = 1 << 20


def mapping(start: int, mebibytes: int, held: float = 1.0, large: float = 0.0, kind: str = "rw-p", name: str = "") -> str:
    kilobytes = mebibytes * 1024
    inode = 0 if name in ("", "[heap]", "[stack]") else 77
    return (
        f"{start:x}-{start + mebibytes * MIB:x} {kind} 00000000 00:00 {inode} {name}\n"
        f"Size: {kilobytes} kB\nRss: {int(kilobytes * held)} kB\nAnonHugePages: {int(kilobytes * large)} kB\n"
    )


def test_full_mappings_of_the_process_alone_are_chosen_by_whole_pages():
    report = "".join(
        (
            mapping(0x1000_0000 + MIB, 8, name="[heap]"),
            mapping(0x2000_0000, 8, held=0.2),
            mapping(0x3000_0000, 8, large=1.0),
            mapping(0x4000_0000, 8, kind="r--p"),
            mapping(0x5000_0000, 8, name="/usr/lib/some.so"),
            mapping(0x6000_0000 + MIB, 2),
            mapping(0x7000_0000, 4, large=0.5),
            mapping(0x8000_0000, 8, name="[stack]"),
        )
    )
    assert small_paged(report) == [
        (0x1000_0000 + PAGE_BYTES, 0x1000_0000 + 8 * MIB),
        (0x7000_0000, 0x7000_0000 + 4 * MIB),
    ]


def test_a_process_asks_when_it_is_large_and_again_when_it_has_grown(monkeypatch):
    held, asked = [0], []
    monkeypatch.setattr(pages, "held_bytes", lambda: held[0])
    monkeypatch.setattr(pages, "use_large_pages", lambda: asked.append(held[0]))
    look = LargePages().look
    for held[0] in (LARGE_FROM - 1, LARGE_FROM, LARGE_FROM * 6 // 5, LARGE_FROM * 5 // 4, LARGE_FROM):
        look()
    assert asked == [LARGE_FROM, LARGE_FROM * 5 // 4]


def test_what_is_in_memory_stays_as_it_is():
    values = [np.full(1_000, number, np.float32) for number in range(2_000)]
    use_large_pages()
    assert all((row == number).all() for number, row in enumerate(values))


def test_linux_tells_what_a_process_holds():
    assert (held_bytes() > MIB) == (sys.platform == "linux")
