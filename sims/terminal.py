"""What the simulator's commands show: progress with the time left, tables, and what Ctrl-C leaves."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sims.listing import counted, known, shown, swept, with_unit

if TYPE_CHECKING:
    from sims.results import Result

EXIT_INTERRUPTED = 130
WIDTH = 80
# What a line of progress is worth where there is no bar: a share of the whole.
LINE_EVERY = 0.1


def console(quiet: bool = False) -> Console:
    """Return the terminal; what goes into a file or a pipe is as wide as a page."""
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else WIDTH, highlight=False)


class Meter:
    """Within it a bar shows how far something is, with the time left; where nobody watches, a line now and then."""

    def __init__(self, screen: Console, name: str, total: float, unit: str) -> None:
        self._screen = screen
        self._name = name
        self._total = total
        self._unit = unit
        self._told = -math.inf
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("passed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task = self._bar.add_task(name, total=total)

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, completed: float) -> None:
        """Show how far it is."""
        self._bar.update(self._task, completed=completed)
        if not self._screen.is_terminal and completed >= self._told + LINE_EVERY * self._total:
            self._told = completed
            self.say(f"{self._name}: {completed:,.0f} of {self._total:,.0f} {self._unit}")

    def say(self, line: str) -> None:
        """Print a line above the bar, at once even into a pipe."""
        self._screen.print(line, soft_wrap=True)
        self._screen.file.flush()


class Interruptible:
    """Within it Ctrl-C asks to stop and does not kill, up to `presses` times; calling it tells how often it was pressed."""

    def __init__(self, presses: int = 1) -> None:
        self._most = presses
        self._asked = 0
        self._before: Callable[[int, FrameType | None], Any] | int | None = None

    def __enter__(self) -> Interruptible:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def __call__(self) -> int:
        """Return how often Ctrl-C has been pressed."""
        return self._asked

    def _ask(self, *_: object) -> None:
        if self._asked >= self._most:
            raise KeyboardInterrupt
        self._asked += 1


# The lines of a summary: label and names in it, in two columns; what a method does not count is left out.
_LEFT = (
    ("accuracy, mean model", "final_accuracy"),
    ("accuracy, worst peer", "final_accuracy_worst"),
    ("best accuracy", "best_accuracy"),
    ("time to 90 % of it", "time_to_90_percent_of_best_s"),
    ("traffic to 90 % of it", "bytes_to_90_percent_of_best"),
    ("disagreement", "final_disagreement"),
    ("variance", "final_variance"),
    ("simulated time", "time_s"),
    ("real time", "wall_s"),
    ("events", "events"),
)
_RIGHT = (
    ("peers online", "final_peers_online"),
    ("links", "final_links"),
    ("training steps", "final_steps"),
    ("traffic", "final_bytes"),
    ("frames lost", "final_frames_lost"),
    ("exchanges begun", "final_exchanges_begun"),
    ("slices averaged", "final_exchanges_accepted"),
    ("sent again", "final_exchanges_resent"),
    ("tried wider", "final_exchanges_retried"),
    ("slices refused", "final_exchanges_refused"),
    ("messages refused", "final_messages_refused"),
    ("abandoned", "final_exchanges_abandoned"),
)


def show_summary(screen: Console, result: Result) -> None:
    """Print what fits on one screen of 80 by 24."""
    screen.print(summary_table(result))
    screen.print(f" trace {result.trace_hash}", soft_wrap=True)


def summary_table(result: Result) -> Table:
    """Return the figures of a run in two columns."""
    summary = result.summary()
    method = "" if summary["method"] == "mesh" else f"{summary['method']}, "
    title = f"{summary['scenario']}: {method}{summary['peers']:,} peers, seed {summary['seed']}"
    table = Table(title=title, title_style="bold", box=None, show_header=False, padding=(0, 1))
    for justify in ("left", "right", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    left, right = ([entry for entry in side if known(summary.get(entry[1]))] for side in (_LEFT, _RIGHT))
    for index in range(max(len(left), len(right))):
        cells: list[str] = []
        for side, indent in ((left, ""), (right, "    ")):
            label, name = side[index] if index < len(side) else ("", "")
            if name == "final_accuracy_worst":
                label = f"accuracy, worst of {summary['final_peers_evaluated']:,}"
            cells += [indent + label, with_unit(name, summary[name]) if name else ""]
        table.add_row(*cells)
    return table


# A sweep's measures that a page of 80 letters has room for; the others are in the table's file.
SWEPT_SHOWN = 4


def sweep_table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Return a sweep's means with their 95 % confidence intervals."""
    most = max((row["seeds"] for row in rows), default=0)
    table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.caption = f"means of {counted(most, 'seed')} ± 95 % confidence intervals"
    head, lines = swept(rows, SWEPT_SHOWN)
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index else "left", no_wrap=index > 0, min_width=None if index else 12)
    for line in lines:
        table.add_row(*line)
    return table


def plain_table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Return rows as a table."""
    table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for index, name in enumerate(rows[0] if rows else {}):
        table.add_column(name.replace("_", " "), justify="left" if not index else "right", no_wrap=not index)
    for row in rows:
        table.add_row(*(shown(value) for value in row.values()))
    return table
