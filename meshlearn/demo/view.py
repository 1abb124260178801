"""The demo's live table: a row for each peer, and what the tracker last measured."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from meshlearn.cli.output import short_bytes

SPARKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 40) -> str:
    """Return the last `width` values as bars between their smallest and largest."""
    values = values[-width:]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(SPARKS[min(7, int(8 * (value - low) / span))] for value in values)


def peers_table(rows: list[tuple[str, str, dict[str, Any]]]) -> Table:
    """Return the table of (name, state, status) rows."""
    table = Table(expand=True, header_style="bold", border_style="dim", pad_edge=False)
    table.add_column("peer")
    for name in ("samples/s", "loss", "links", "in", "out", "accepted", "retried", "refused"):
        table.add_column(name, justify="right")
    for name, state, status in rows:
        if not status:
            table.add_row(name, *["-"] * 7, Text(state, style="yellow"))
            continue
        loss = status.get("loss")
        refused = str(status.get("exchanges_refused", 0))
        table.add_row(
            Text.assemble((name, "bold cyan"), (f" {state}" if state else "", "yellow")),
            f"{status.get('samples_per_second', 0):,.0f}",
            "-" if loss is None else f"{loss:.3f}",
            str(status.get("links", 0)),
            short_bytes(status.get("bytes_in", 0)),
            short_bytes(status.get("bytes_out", 0)),
            f"{status.get('exchanges_accepted', 0):,}",
            str(status.get("exchanges_retried", 0)),
            Text(refused, style="red" if refused != "0" else ""),
        )
    return table


def run_panel(
    history: list[dict[str, Any]], goal: float | None, step_limit: int | None, steps: int, seconds: float
) -> RenderableType:
    """Return the run's own part: accuracy, disagreement, progress to the goal."""
    last = history[-1] if history else None
    line = Text()
    if last is None:
        line.append("waiting for the tracker's first evaluation ...", style="dim")
        accuracy = 0.0
    else:
        accuracy = last["accuracy"]
        line.append("test accuracy ")
        line.append(f"{accuracy:.1%}", style="bold green" if goal and accuracy >= goal else "bold")
        line.append(f"  {sparkline([point['accuracy'] for point in history])}", style="green")
        line.append(f"\ndisagreement  {last['disagreement']:.4f}", style="")
        line.append(f"  {sparkline([point['disagreement'] for point in history])}", style="yellow")
        line.append(
            f"\nsamples {last['samples']:,}   sent by all peers {short_bytes(last['bytes'])}   {seconds:.0f} s", style="dim"
        )
    parts: list[RenderableType] = [line]
    if goal:
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        limit = f", step {steps} of at most {step_limit}" if step_limit else ""
        bar.add_row(ProgressBar(total=goal, completed=min(accuracy, goal)), f"goal {goal:.1%}{limit}")
        parts.append(bar)
    return Panel(Group(*parts), title="the run", title_align="left", border_style="dim")


def screen(title: str, link: str, table: Table, panel: RenderableType, note: str) -> Group:
    """Return the whole screen."""
    head = Text.assemble((title, "bold"), ("\njoin with  ", "dim"), f"meshlearn join '{link}'")
    return Group(head, table, panel, Text(note, style="dim"))
