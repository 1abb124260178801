"""One HTML file that shows a whole result, and needs nothing else: no script, no font, no server."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sims import listing, plots
from sims.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 Georgia, serif; color: #1b1b1b; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
h1, p, li { overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .9rem; }
.table { overflow-x: auto; }
td, th { padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0; }
td.number, th.number { padding-left: .8rem; } th { vertical-align: bottom; } th.number { white-space: normal; }
figure { margin: 0; } figcaption { font-size: .85rem; color: #555; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem; }
.figures .wide { grid-column: 1 / -1; }
.summary { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: 0 2rem; }
.summary table { width: 100%; } .summary td.number { white-space: normal; overflow-wrap: anywhere; }
.long { max-height: 30rem; overflow-y: auto; }
svg { width: 100%; height: auto; }
@media (max-width: 40rem) { .wide { overflow-x: auto; } .wide svg { min-width: 44rem; } }
pre { font-size: .8rem; background: #f6f6f6; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
# A figure that is wider than a column of a paper has a row of its own.
WIDE_INCHES = 4.0
_CAPTIONS = {
    "accuracy-over-time": "Test accuracy of the mean model and of the worst of the peers judged; the band spans these.",
    "accuracy-by-peer": "How many peers have a model of their own of which test accuracy at the end.",
    "accuracy-over-bytes": "The same over the bytes that all peers have sent, headers included.",
    "disagreement": "How far the peers are apart: root of the mean squared distance to the mean model, over its displacement.",
    "peers": "Peers online, and those that have the model.",
    "traffic": "What a peer sends, headers included.",
    "exchanges": "What became of the exchanges, since the start; both sides of an exchange average a slice. "
    "A refused message is malformed, of another run, or breaks a rule.",
}


def write_report(result: Result, path: Path) -> Path:
    """Write the report of one run."""
    title = f"{result.scenario.name}: {result.scenario.peers:,} peers, seed {result.scenario.seed}"
    body = [
        f"<p>{html.escape(result.scenario.description)}</p>",
        "<h2>Curves</h2>",
        _figures(plots.figures(result)),
        "<h2>Summary</h2>",
        _summary(result),
        "<h2>Peers</h2>",
        _peers(result),
        "<h2>Scenario</h2>",
        f"<pre>{html.escape(result.scenario.to_toml())}</pre>",
    ]
    return write_page(title, body, path)


def _summary(result: Result) -> str:
    parts = [f"<div><h3>{title}</h3>{table((), rows)}</div>" for title, rows in listing.summary_groups(result)]
    return '<div class="summary">' + "\n".join(parts) + "</div>"


def _peers(result: Result) -> str:
    peers = result.peers
    rows = listing.peer_rows(peers)
    left = len(peers) - len(rows)
    more = f" {left:,} more peers are in peers.csv." if left else ""
    return "\n".join(
        (
            "<p>Means a peer, and the accuracies of the peers' own models at the end.</p>",
            table(listing.CLASS_HEAD, listing.class_rows(peers)),
            f"<h3>Peer by peer</h3><p>The least accurate first; whoever had no model to judge at the end stands last.{more}</p>",
            f'<div class="long">{table(listing.PEER_HEAD, rows)}</div>',
        )
    )


def write_page(title: str, body: Sequence[str], path: Path) -> Path:
    """Write a page of that title."""
    head = '<!doctype html><html lang="en"><meta charset="utf-8">'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
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
    rows = [row for _, group in listing.summary_groups(result) for row in group]
    # No style sheet: it would reach the rest of the notebook.
    drawn = figures_grid(figures).replace("<figure>", '<figure style="display: inline-block; width: 20rem; margin: 0 1rem 0 0">')
    listed = f"<details><summary>all figures of the run</summary>{table((), rows)}</details>"
    return f"<div><p><b>{html.escape(repr(result)[1:-1])}</b></p>{drawn}{listed}</div>"


def _figures(figures: Mapping[str, Figure]) -> str:
    return figures_grid({name: (figure, _CAPTIONS.get(name, "")) for name, figure in figures.items()})


def figures_grid(figures: Mapping[str, tuple[Figure, str]]) -> str:
    """Return figures with their captions, as many side by side as there is room for."""
    parts = []
    for name, (figure, caption) in figures.items():
        wide = ' class="wide"' if figure.get_size_inches()[0] > WIDE_INCHES else ""
        drawing = plots.svg(figure)
        # Names inside of a drawing must be the page's only ones.
        for mark in ('id="', 'href="#', "url(#"):
            drawing = drawing.replace(mark, f"{mark}{name}-")
        parts.append(f"<figure{wide}>{drawing}<figcaption>{html.escape(caption)}</figcaption></figure>")
    return '<div class="figures">' + "\n".join(parts) + "</div>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are escaped."""
    lines = ['<div class="table"><table>']
    if any(head):
        first, *rest = head
        cells = [f"<th>{html.escape(first)}</th>"] + [f'<th class="number">{html.escape(cell)}</th>' for cell in rest]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    for row in rows:
        cells = [f"<td>{html.escape(row[0])}</td>"] + [f'<td class="number">{html.escape(cell)}</td>' for cell in row[1:]]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join([*lines, "</table></div>"])
