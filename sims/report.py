"""One HTML file that shows a whole result, and needs nothing else: no script, no font, no server."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sims import plots
from sims.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 Georgia, serif; color: #1b1b1b; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: .9rem; }
td, th { padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #ddd; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 0; } figcaption { font-size: .85rem; color: #555; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem; }
svg { width: 100%; height: auto; }
pre { font-size: .8rem; background: #f6f6f6; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
_CAPTIONS = {
    "accuracy-over-time": "Test accuracy of the mean model and of the worst peer; the band spans the peers that were judged.",
    "accuracy-over-bytes": "The same over the bytes that all peers have sent, headers included.",
    "disagreement": "How far the peers are apart: root of the mean squared distance to the mean model, over its displacement.",
    "peers": "Peers online, and those that have the model.",
    "traffic": "What a peer sends, headers included.",
    "exchanges": "What became of the exchanges, since the start; both sides of an exchange average a slice.",
}


def write_report(result: Result, path: Path) -> Path:
    """Write the report of one run."""
    rows = [(name.replace("_", " "), shown(value)) for name, value in result.summary().items()]
    title = f"{result.scenario.name}: {result.scenario.peers:,} peers, seed {result.scenario.seed}"
    body = [
        f"<p>{html.escape(result.scenario.description)}</p>",
        "<h2>Curves</h2>",
        _figures(plots.figures(result)),
        "<h2>Summary</h2>",
        table(("", ""), rows),
        "<h2>Scenario</h2>",
        f"<pre>{html.escape(result.scenario.to_toml())}</pre>",
    ]
    return write_page(title, body, path)


def write_page(title: str, body: Sequence[str], path: Path) -> Path:
    """Write a page of that title."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    path.write_text(f"{head}<h1>{html.escape(title)}</h1>\n" + "\n".join(body) + "</html>\n", encoding="utf-8")
    return path


def notebook_view(result: Result) -> str:
    """Return a result as a notebook shows it: what it is, its accuracy and disagreement over time, and its summary."""
    names = ("accuracy-over-time", "accuracy-over-bytes", "disagreement")
    figures = {
        f"{result.trace_hash[:8]}-{name}": (figure, _CAPTIONS.get(name, ""))
        for name, figure in plots.figures(result).items()
        if name in names
    }
    rows = [(name.replace("_", " "), shown(value)) for name, value in result.summary().items()]
    # No style sheet: it would reach the rest of the notebook.
    drawn = figures_grid(figures).replace("<figure>", '<figure style="display: inline-block; width: 20rem; margin: 0 1rem 0 0">')
    listed = f"<details><summary>all figures of the run</summary>{table(('', ''), rows)}</details>"
    return f"<div><p><b>{html.escape(repr(result)[1:-1])}</b></p>{drawn}{listed}</div>"


def _figures(figures: Mapping[str, Figure]) -> str:
    return figures_grid({name: (figure, _CAPTIONS.get(name, "")) for name, figure in figures.items()})


def figures_grid(figures: Mapping[str, tuple[Figure, str]]) -> str:
    """Return figures with their captions, as many side by side as there is room for."""
    parts = []
    for name, (figure, caption) in figures.items():
        drawing = plots.svg(figure)
        # Names inside of a drawing must be the page's only ones.
        for mark in ('id="', 'href="#', "url(#"):
            drawing = drawing.replace(mark, f"{mark}{name}-")
        parts.append(f"<figure>{drawing}<figcaption>{html.escape(caption)}</figcaption></figure>")
    return '<div class="figures">' + "\n".join(parts) + "</div>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are escaped."""
    lines = ["<table>"]
    if any(head):
        lines.append("<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>")
    for row in rows:
        cells = [f"<td>{html.escape(row[0])}</td>"] + [f'<td class="number">{html.escape(cell)}</td>' for cell in row[1:]]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def shown(value: Any) -> str:
    """Return a value as a person reads it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def plus_minus(value: float, width: float) -> str:
    """Return a mean with half the width of its interval, to the digits that the interval leaves sure."""
    if math.isnan(width) or math.isnan(value):
        return shown(value)
    if width == 0:
        return f"{shown(value)} ± 0"
    size = math.floor(math.log10(width))
    decimals = max(0, -size + (width / 10.0**size < 2.0))
    return f"{value:,.{decimals}f} ± {width:,.{decimals}f}"


def with_intervals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with each NAME_interval put behind its NAME."""
    return [
        {
            name: plus_minus(value, row[f"{name}_interval"]) if f"{name}_interval" in row else value
            for name, value in row.items()
            if not name.endswith("_interval")
        }
        for row in rows
    ]
