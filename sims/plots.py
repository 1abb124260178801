"""Figures for a paper: one column wide, colours that the colour-blind can tell apart, vector graphics."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sims.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# Of more lines than these, bands would hide each other.
BANDS_MAX = 6
LINES = ("-", "--", "-.", ":")
# As wide as a figure at the size of a legend's letters.
LETTERS_MAX = 66
STYLE: Any = {
    "font.family": "serif",
    "font.serif": ["STIX Two Text", "STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.figsize": (3.4, 2.2),
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "svg.hashsalt": "meshlearn",
}
Series = Sequence[Mapping[str, float]]
OUTCOMES = {
    "exchanges_begun": "begun",
    "exchanges_accepted": "slices averaged",
    "exchanges_retried": "tried wider",
    "exchanges_resent": "sent again",
    "exchanges_declined": "declined",
    "exchanges_refused": "slices refused",
    "messages_refused": "messages refused",
    "exchanges_abandoned": "abandoned",
}


def figures(result: Result) -> dict[str, Figure]:
    """Return the figures of one run by name; those that have nothing to show are left out."""
    series = result.series
    found: dict[str, Figure] = {}
    if not series:
        return found
    trained = any(not math.isnan(row.get("accuracy", math.nan)) for row in series)
    with _style():
        if trained:
            found["accuracy-over-time"] = _accuracy(series, "time_s", "time / s", 1.0)
            found["accuracy-over-bytes"] = _accuracy(series, "bytes", "traffic of all peers / MB", 1e-6)
            if any(_is_number(peer["accuracy"]) for peer in result.peers):
                found["accuracy-by-peer"] = _by_peer(result.peers)
        found["disagreement"] = _lines(
            series, {"disagreement": "relative disagreement"} if trained else {"variance": "variance"}, logarithmic=True
        )
        found["peers"] = _lines(series, {"peers_online": "online", "peers_ready": "with a model"}, label="peers")
        _whole_numbers(found["peers"].axes[0])
        found["traffic"] = _traffic(series)
        outcomes = {name: label for name, label in OUTCOMES.items() if series[-1].get(name, 0)}
        if outcomes:
            found["exchanges"] = _lines(series, outcomes, label="exchanges since the start", logarithmic=True)
    return found


def _style() -> Any:
    """Return the context in which figures are made. Matplotlib is slow to import: who draws nothing need not wait."""
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def column(series: Series, name: str, scale: float = 1.0) -> list[float]:
    """Return one column of a series."""
    return [row.get(name, math.nan) * scale for row in series]


def _new(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _letters(labels: Sequence[str], rows: int) -> int:
    """Return how many letters wide a legend of so many rows is, marks included; it is filled column by column."""
    return sum(8 + max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows))


def _legend(figure: Figure, axes: Axes) -> None:
    """Put the legend above the axes, where it never lies on a curve."""
    handles, labels = axes.get_legend_handles_labels()
    rows = next(rows for rows in range(1, len(labels) + 1) if rows == len(labels) or _letters(labels, rows) <= LETTERS_MAX)
    columns = -(-len(labels) // rows)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.15 * rows)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, borderaxespad=0.1)


def _logarithmic(axes: Axes) -> None:
    """Make the y axis logarithmic, with its numbers written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    fine = low > 0 and math.log10(high / low) < 2.5
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if fine else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _accuracy(series: Series, x_name: str, x_label: str, scale: float) -> Figure:
    figure, axes = _new(x_label, "test accuracy / %")
    x = column(series, x_name, scale)
    worst, best = column(series, "accuracy_worst", 100.0), column(series, "accuracy_best", 100.0)
    axes.plot(x, column(series, "accuracy", 100.0), color=COLOURS[0], label="mean model", zorder=3)
    judged = [row.get("peers_evaluated", math.nan) for row in series]
    # The last row judges every peer; those before it a random sample.
    sampled = max((count for count in judged[:-1] if count > 0), default=math.nan)
    of = "peer" if math.isnan(sampled) else f"of {sampled:.0f} sampled peers (of all in the end)"
    axes.plot(x, worst, color=COLOURS[1], ls="--", label=f"worst {of}")
    axes.fill_between(x, worst, best, color=COLOURS[0], alpha=0.15, lw=0, label="these, worst to best")
    axes.set_xlim(left=0)
    _legend(figure, axes)
    return figure


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


def _by_peer(peers: Sequence[Mapping[str, Any]]) -> Figure:
    """Return how many peers of each class have which accuracy."""
    figure, axes = _new("test accuracy of a peer's own model / %", "peers")
    groups: dict[str, list[float]] = {}
    for peer in peers:
        if _is_number(peer["accuracy"]):
            groups.setdefault(str(peer["class"]), []).append(100.0 * peer["accuracy"])
    values = list(groups.values())
    low, high = min(map(min, values)), max(map(max, values))
    axes.hist(
        values,
        bins=20,
        range=(low - 0.5, high + 0.5),
        stacked=True,
        color=[COLOURS[index % len(COLOURS)] for index in range(len(values))],
        label=list(groups),
    )
    _whole_numbers(axes)
    _legend(figure, axes)
    return figure


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def _lines(series: Series, names: Mapping[str, str], label: str = "", logarithmic: bool = False) -> Figure:
    figure, axes = _new("time / s", label or next(iter(names.values())))
    x = column(series, "time_s")
    for index, (name, shown) in enumerate(names.items()):
        y = column(series, name)
        if logarithmic:
            y = [value if value > 0 else math.nan for value in y]
        axes.plot(x, y, color=COLOURS[index % len(COLOURS)], ls=LINES[index % len(LINES)], label=shown)
    axes.set_xlim(left=0)
    if logarithmic and any(value > 0 for name in names for value in column(series, name)):
        _logarithmic(axes)
    else:
        axes.set_ylim(bottom=0)
    if label:
        _legend(figure, axes)
    return figure


def _traffic(series: Series) -> Figure:
    figure, axes = _new("time / s", "sent by a peer / (kbit/s)")
    times, sent, online = column(series, "time_s"), column(series, "bytes"), column(series, "peers_online")
    rates = []
    before = (0.0, 0.0)
    for time, count, peers in zip(times, sent, online, strict=True):
        span = time - before[0]
        rates.append((count - before[1]) * 8e-3 / span / max(peers, 1.0) if span > 0 else math.nan)
        before = (time, count)
    axes.plot(times, rates, color=COLOURS[0])
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return figure


# What a comparison's y axis shows: its label, what it is multiplied by, and whether it is logarithmic.
COMPARED = {
    "accuracy": ("accuracy of the mean model / %", 100.0, False),
    "accuracy_worst": ("accuracy of the worst peer judged / %", 100.0, False),
    "disagreement": ("relative disagreement", 1.0, True),
    "variance": ("variance", 1.0, True),
}


def banded(lines: int) -> bool:
    """Return whether so many lines have bands: those of more hide each other."""
    return lines <= BANDS_MAX


def band_caption(lines: int, seeds: int) -> str:
    """Return what a comparison's lines and bands are."""
    if seeds < 2:
        return "One seed."
    if not banded(lines):
        return "Means over the seeds; their intervals are in the table: the bands of so many lines would hide each other."
    return "Means over the seeds; the bands are 95 % confidence intervals (on a logarithmic axis by their relative width)."


def band(middle: Sequence[float], half: Sequence[float], top: float, logarithmic: bool) -> tuple[list[float], list[float]]:
    """Return the ends of intervals that lie in 0 to `top`; on a logarithmic axis they are as wide as half/middle either way."""
    if logarithmic:
        # To first order the interval of the logarithm; it never reaches 0, which such an axis does not have.
        wide = [min(part / value, 50.0) if value > 0 else math.nan for value, part in zip(middle, half, strict=True)]
        low = [value * math.exp(-part) for value, part in zip(middle, wide, strict=True)]
        return low, [value * math.exp(part) for value, part in zip(middle, wide, strict=True)]
    low = [max(value - part, 0.0) for value, part in zip(middle, half, strict=True)]
    return low, [min(value + part, top) for value, part in zip(middle, half, strict=True)]


def fit(axes: Axes, values: Sequence[float], top: float, logarithmic: bool) -> None:
    """Let the y axis show the lines' values, and of the bands what lies about these."""
    there = [value for value in values if value > 0.0 and math.isfinite(value)]
    if logarithmic and there:
        axes.set_ylim(min(there) / 1.6, max(there) * 1.6)
        _logarithmic(axes)
    elif top == 100.0:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0.0), min(high, 100.0))
    else:
        axes.set_ylim(bottom=0.0)


def comparison(
    curves: Mapping[str, Sequence[Series]], x_name: str, x_label: str, scale: float = 1.0, y_name: str = "accuracy"
) -> Figure:
    """Return one line for each name: the mean over its runs (by row), with the 95 % confidence interval as a band.

    Where there are more than BANDS_MAX lines, there are no bands.
    """
    y_label, factor, logarithmic = COMPARED.get(y_name, (y_name.replace("_", " "), 1.0, False))
    top = 100.0 if factor == 100.0 else math.inf
    with _style():
        figure, axes = _new(x_label, y_label)
        every: list[float] = []
        for index, (name, runs) in enumerate(curves.items()):
            # Lines that lie on each other are told apart by their dashes.
            colour, line = COLOURS[index % len(COLOURS)], LINES[(index + index // len(COLOURS)) % len(LINES)]
            rows = list(zip(*runs, strict=False))
            x = [mean([row[x_name] for row in group]) * scale for group in rows]
            middle = [mean([row[y_name] for row in group]) * factor for group in rows]
            axes.plot(x, middle, color=colour, ls=line, label=name, zorder=3)
            every += middle
            if len(runs) > 1 and banded(len(curves)):
                half = [interval([row[y_name] for row in group]) * factor for group in rows]
                low, high = band(middle, half, top, logarithmic)
                axes.fill_between(x, low, high, color=colour, alpha=0.3 / max(2, len(curves)), lw=0)
        axes.set_xlim(left=0)
        fit(axes, every, top, logarithmic)
        _legend(figure, axes)
        return figure


def mean(values: Sequence[float]) -> float:
    """Return the mean of what is not NaN."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


# Student's t at 97.5 % for 1 to 30 degrees of freedom; beyond, the normal law's.
_T = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
)
_T30 = (2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


def interval(values: Sequence[float]) -> float:
    """Return half the width of the 95 % confidence interval of the mean (Student's t); NaN for one value."""
    known = [value for value in values if not math.isnan(value)]
    count = len(known)
    if count < 2:
        return math.nan
    middle = sum(known) / count
    deviation = math.sqrt(sum((value - middle) ** 2 for value in known) / (count - 1))
    t = (*_T, *_T30)
    return (t[count - 2] if count <= len(t) + 1 else 1.96) * deviation / math.sqrt(count)


def write_figures(found: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write each figure as PDF (for the paper) and PNG (for the eye); return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with _style():
        for name, figure in found.items():
            for suffix in ("pdf", "png"):
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, metadata=_without_date(suffix))
                files.append(path)
    return files


def _without_date(suffix: str) -> dict[str, Any]:
    return {"CreationDate": None} if suffix == "pdf" else {}


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element to be put into a page."""
    file = io.StringIO()
    with _style():
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
