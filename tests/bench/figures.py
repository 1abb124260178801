"""What a benchmark reports, and how it measures: a figure stands beside a limit, or beside a peer of the same run.

The machine is shared and its speed varies, so ratios of interleaved measurements say more than times.
"""

from __future__ import annotations

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rich.console import Console
from rich.table import Table

Better: TypeAlias = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; `against` says what it is compared with, or where the limit comes from."""

    name: str
    value: float
    unit: str
    limit: float | None
    better: Better
    against: str

    @property
    def kept(self) -> bool | None:
        """Whether the value is on the right side of its limit; None without a limit."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.better == "higher" else self.value <= self.limit


def ratio(name: str, value: float, reference: float, limit: float | None, better: Better, against: str) -> Figure:
    """Return value / reference as a figure without unit; not a number where the reference is 0."""
    return Figure(name, value / reference if reference else math.nan, "x", limit, better, against)


def median_seconds(
    function: Callable[[], object], repeats: int, *, warmups: int = 1, before: Callable[[], object] | None = None
) -> float:
    """Return the median duration of `repeats` calls in seconds, after `warmups` calls that do not count.

    `before` runs ahead of each call, untimed. The garbage collector rests while a call is timed.
    """
    return medians_seconds({"": function}, repeats, warmups=warmups, before=before)[""]


def medians_seconds(
    functions: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    warmups: int = 1,
    before: Callable[[], object] | None = None,
) -> dict[str, float]:
    """Return the median durations in seconds of functions that take turns, so that all meet the same disturbances."""
    if repeats < 1:
        raise ValueError("a median needs at least one measurement")
    durations: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(-warmups, repeats):
        for name, function in functions.items():
            if before is not None:
                before()
            duration = _seconds(function)
            if number >= 0:
                durations[name].append(duration)
    return {name: statistics.median(each) for name, each in durations.items()}


def print_figures(title: str, figures: Sequence[Figure], console: Console | None = None) -> None:
    """Print a table of figures, each beside its limit and what it is measured against."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", expand=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("", justify="left")
    table.add_column("against", style="dim")
    for figure in figures:
        sign = "≥" if figure.better == "higher" else "≤"
        limit = "" if figure.limit is None else f"{sign} {format_value(figure.limit, figure.unit)}"
        verdict = {None: "", True: "[green]kept[/]", False: "[red]missed[/]"}[figure.kept]
        table.add_row(figure.name, format_value(figure.value, figure.unit), limit, verdict, figure.against)
    # A file or a pipe has room for a whole line.
    (console or Console(width=None if sys.stdout.isatty() else 160)).print(table)


def format_value(value: float, unit: str) -> str:
    """Return a value with three significant digits, thousands separated, and its unit."""
    if not math.isfinite(value):
        text = str(value)
    elif value == 0 or abs(value) >= 100:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return f"{text} {unit}".strip()


def _seconds(function: Callable[[], object]) -> float:
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    finally:
        if collecting:
            gc.enable()
