"""Goodput of one link in MB/s: full frames of 64 KiB from one process to another on this machine.

Two processes stay for the whole benchmark and run one variant after the other, in rounds, so that all variants meet the
same disturbances.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.figures import Figure, ratio

_ROUNDS: Final = 3
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to carry bytes; `carrier` and `traffic` are names in goodput_link.

    `measured_elsewhere` is a goodput in MB/s to compare with. With `part_of`, the goodput also counts as a share of that
    variant's, and `share_min` is the least that is good enough.
    """

    name: str
    carrier: str
    loop: str
    megabytes: int
    megabytes_short: int
    measured_elsewhere: float | None = None
    traffic: str = "frames"
    part_of: str | None = None
    share_min: float | None = None


VARIANTS: Final[tuple[Variant, ...]] = (
    Variant("raw TCP, uvloop", "tcp", "uvloop", 512, 64, 1_985),
    Variant("bare aiortc, uvloop", "bare aiortc", "uvloop", 24, 2, 16.5),
    Variant("channel over aiortc, asyncio", "aiortc", "asyncio", 12, 2, 7),
    Variant("channel over aiortc, uvloop", "aiortc", "uvloop", 24, 2, 16.5, part_of="bare aiortc, uvloop", share_min=0.9),
    Variant("meshlearn over aiortc, uvloop", "aiortc", "uvloop", 24, 2, None, "slices", "bare aiortc, uvloop", 0.8),
    Variant(
        "channel over wrtc, uvloop",
        "wrtc",
        "uvloop",
        96,
        4,
        132,
        part_of="channel over aiortc, uvloop",
        share_min=1.0,
    ),
)


def run(short: bool) -> list[Figure]:
    """Measure every variant that this machine can run."""
    variants = [variant for variant in VARIANTS if _can_run(variant)]
    goodputs: dict[str, list[float]] = {variant.name: [] for variant in variants}
    with _process() as sender, _process() as receiver:
        for _ in range(1 if short else _ROUNDS):
            for variant in variants:
                goodputs[variant.name].append(measure(sender, receiver, variant, short=short))
    return figures_of(variants, {name: statistics.median(values) for name, values in goodputs.items()})


def figures_of(variants: Sequence[Variant], goodputs: dict[str, float]) -> list[Figure]:
    """Return the goodputs as figures, then the shares."""
    figures = []
    for variant in variants:
        known = variant.measured_elsewhere
        against = f"{known:,g} MB/s on 2 shared cores" if known is not None else ""
        figures.append(Figure(variant.name, goodputs[variant.name], "MB/s", None, "higher", against))
    for variant in variants:
        if variant.part_of in goodputs:
            name = f"{variant.name} / {variant.part_of}"
            value, reference = goodputs[variant.name], goodputs[variant.part_of]
            figures.append(ratio(name, value, reference, variant.share_min, "higher", "the same run"))
    return figures


def measure(sender: Process, receiver: Process, variant: Variant, *, short: bool) -> float:
    """Run one variant once; return MB/s (10^6 bytes)."""
    megabytes = variant.megabytes_short if short else variant.megabytes
    task = {
        "carrier": variant.carrier,
        "loop": variant.loop,
        "traffic": variant.traffic,
        "bytes": megabytes * 1_000_000,
    }
    receiver.tell({**task, "role": "receive"})
    port = receiver.hear()["port"]
    sender.tell({**task, "role": "send", "port": port})
    seconds = sender.hear()["seconds"]
    return float(receiver.hear()["bytes"] / seconds / 1e6)


class Process:
    """One goodput_link process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, task: dict[str, Any]) -> None:
        """Give it a task."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return its next answer; raises RuntimeError where it has died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmark ended early; what it wrote is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def _process() -> Iterator[Process]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.goodput_link"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    ) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def _can_run(variant: Variant) -> bool:
    needed = {"wrtc": "webrtc"}.get(variant.carrier), "uvloop" if variant.loop == "uvloop" else None
    return all(module is None or importlib.util.find_spec(module) is not None for module in needed)
