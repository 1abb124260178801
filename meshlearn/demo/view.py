"""The demo's live table: a row for each peer, and what the tracker last measured."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from meshlearn.cli.output import short_bytes

SPARKS: Final = "▁▂▃▄▅▆▇█"
# Headings for a narrow terminal.
SHORT: Final = {"samples/s": "rate", "accepted": "acc.", "retried": "retr.", "refused": "ref."}
# Lines of the screen that are no peers: title, headings, the run's panel, the note.
OTHER_LINES: Final = 13


class Row(NamedTuple):
    """One peer: its name, its state ("" while all is well), its last status, and its own model's test accuracy."""

    name: str
    state: str
    status: dict[str, Any]
    process_id: int | None
    accuracy: float | None


def sparkline(values: list[float], width: int = 40) -> str:
    """Return the last `width` values as bars between their smallest and largest."""
    values = values[-width:] if width > 0 else []
    if not values:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(SPARKS[min(7, int(8 * (value - low) / span))] for value in values)


def peers_table(rows: list[Row], width: int, height: int) -> RenderableType:
    """Return the table of the peers for a terminal of that size: fewer columns where it is narrow, fewer rows where it is low."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("peer", no_wrap=True)
    columns = _columns(width)
    for heading in columns:
        table.add_column(SHORT.get(heading, heading) if width < 72 else heading, justify="right", no_wrap=True)
    shown = rows if len(rows) <= height - OTHER_LINES else rows[: max(1, height - OTHER_LINES - 1)]
    for row in shown:
        cells = _cells(row)
        table.add_row(Text(row.name, style="bold cyan"), *[cells[heading] for heading in columns])
    if len(shown) < len(rows):
        return Group(table, Text(f"... and {len(rows) - len(shown)} more peers", style="dim"))
    return table


def _columns(width: int) -> list[str]:
    columns = ["samples/s", "links", "in", "out", "accepted", "retried", "refused"]
    if width >= 76:
        columns.insert(1, "loss")
    if width >= 96:
        columns.insert(2, "accuracy")
    if width >= 110:
        columns.insert(0, "process")
    return columns


def _cells(row: Row) -> dict[str, RenderableType]:
    status = row.status
    state = Text(row.state, style="yellow")
    if not status:
        return {**dict.fromkeys(_columns(200), "-"), "process": str(row.process_id or "-"), "samples/s": state}
    loss, refused = status.get("loss"), f"{status.get('exchanges_refused', 0):,}"
    return {
        "process": str(row.process_id or "-"),
        "samples/s": state if row.state else f"{status.get('samples_per_second', 0):,.0f}",
        "loss": "-" if loss is None else f"{loss:.3f}",
        "accuracy": "-" if row.accuracy is None else f"{row.accuracy:.1%}",
        "links": "0" if row.state == "ended" else str(status.get("links", 0)),
        "in": short_bytes(status.get("bytes_in", 0)),
        "out": short_bytes(status.get("bytes_out", 0)),
        "accepted": f"{status.get('exchanges_accepted', 0):,}",
        "retried": f"{status.get('exchanges_retried', 0):,}",
        "refused": Text(refused, style="red" if refused != "0" else ""),
    }


def run_panel(
    history: list[dict[str, Any]], goal: float | None, step_limit: int | None, steps: int, seconds: float, width: int
) -> RenderableType:
    """Return the run's own part: accuracy, disagreement, progress to the goal."""
    last = history[-1] if history else None
    line = Text(no_wrap=True, overflow="crop")
    accuracy = 0.0
    if last is None:
        line.append(f"the processes start and find each other ... {seconds:.0f} s", style="dim")
    else:
        accuracy, bars = last["accuracy"], width - 32
        line.append("test accuracy  ")
        line.append(f"{accuracy:7.1%}", style="bold green" if goal and accuracy >= goal else "bold")
        line.append(f"  {sparkline([point['accuracy'] for point in history], bars)}", style="green")
        line.append(f"\ndisagreement  {last['disagreement']:8.4f}")
        line.append(f"  {sparkline([point['disagreement'] for point in history], bars)}", style="yellow")
        line.append(
            f"\n{last['samples']:,} samples, {short_bytes(last['bytes'])} sent by all peers, {seconds:.0f} s", style="dim"
        )
    parts: list[RenderableType] = [line]
    if goal or step_limit:
        bar = Table.grid(expand=True, padding=(0, 1, 0, 0))
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        aims = [f"goal {goal:.1%}"] if goal else []
        aims += [f"step {steps:,} of {step_limit:,}"] if step_limit else []
        done = max(accuracy / goal if goal else 0.0, steps / step_limit if step_limit else 0.0)
        bar.add_row(ProgressBar(total=1.0, completed=min(done, 1.0)), ", ".join(aims))
        parts.append(bar)
    return Panel(Group(*parts), title="the run", title_align="left", border_style="dim")


def note_on_tabs(tabs: int) -> str:
    """Return what a person should know about the end of a demo that stays open for browser tabs."""
    if not tabs:
        return "Ctrl-C ends it and keeps the results; --stay always goes on after the goal."
    who, left = ("A browser tab takes", "it has") if tabs == 1 else (f"{tabs} browser tabs take", "they have")
    return f"{who} part: no end at the goal before {left} left (or Ctrl-C)."


def screen(title: str, table: RenderableType, panel: RenderableType, note: Text) -> Group:
    """Return the whole screen."""
    return Group(Text(title, style="bold", no_wrap=True, overflow="ellipsis"), table, panel, note)
