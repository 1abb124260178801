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
LINES = ("-", "--", "-.", ":")
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
    "exchanges_accepted": "accepted",
    "exchanges_retried": "wider range",
    "exchanges_resent": "sent again",
    "exchanges_declined": "declined",
    "exchanges_refused": "refused",
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
        found["disagreement"] = _lines(
            series, {"disagreement": "relative disagreement"} if trained else {"variance": "variance"}, logarithmic=True
        )
        found["peers"] = _lines(series, {"peers_online": "online", "peers_ready": "with a model"}, label="peers")
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


def _accuracy(series: Series, x_name: str, x_label: str, scale: float) -> Figure:
    figure, axes = _new(x_label, "test accuracy")
    x = column(series, x_name, scale)
    axes.fill_between(
        x,
        column(series, "accuracy_worst"),
        column(series, "accuracy_best"),
        color=COLOURS[0],
        alpha=0.15,
        lw=0,
        label="peers, worst to best",
    )
    axes.plot(x, column(series, "accuracy_worst"), color=COLOURS[1], ls="--", label="worst peer")
    axes.plot(x, column(series, "accuracy"), color=COLOURS[0], label="mean model")
    axes.legend(loc="lower right")
    return figure


def _lines(series: Series, names: Mapping[str, str], label: str = "", logarithmic: bool = False) -> Figure:
    figure, axes = _new("time / s", label or next(iter(names.values())))
    x = column(series, "time_s")
    for index, (name, shown) in enumerate(names.items()):
        axes.plot(x, column(series, name), color=COLOURS[index % len(COLOURS)], ls=LINES[index % len(LINES)], label=shown)
    if logarithmic and any(value > 0 for name in names for value in column(series, name)):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if len(names) > 1:
        axes.legend()
    return figure


def _traffic(series: Series) -> Figure:
    figure, axes = _new("time / s", "traffic a peer / kbit s$^{-1}$")
    times, sent, online = column(series, "time_s"), column(series, "bytes"), column(series, "peers_online")
    rates = []
    before = (0.0, 0.0)
    for time, count, peers in zip(times, sent, online, strict=True):
        span = time - before[0]
        rates.append((count - before[1]) * 8e-3 / span / max(peers, 1.0) if span > 0 else math.nan)
        before = (time, count)
    axes.plot(times, rates, color=COLOURS[0])
    axes.set_ylim(bottom=0)
    return figure


def comparison(
    curves: Mapping[str, Sequence[Series]], x_name: str, x_label: str, scale: float = 1.0, y_name: str = "accuracy"
) -> Figure:
    """Return one line for each name: the mean over its runs (by row), with the 95 % confidence interval as a band."""
    with _style():
        figure, axes = _new(x_label, "test accuracy of the mean model" if y_name == "accuracy" else y_name.replace("_", " "))
        for index, (name, runs) in enumerate(curves.items()):
            colour, line = COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)]
            rows = list(zip(*runs, strict=False))
            x = [mean([row[x_name] for row in group]) * scale for group in rows]
            middle = [mean([row[y_name] for row in group]) for group in rows]
            axes.plot(x, middle, color=colour, ls=line, label=name)
            if len(runs) > 1:
                half = [interval([row[y_name] for row in group]) for group in rows]
                low = [value - width for value, width in zip(middle, half, strict=True)]
                high = [value + width for value, width in zip(middle, half, strict=True)]
                axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
        if len(curves) > 6:
            figure.set_size_inches(5.6, 2.8)
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        else:
            axes.legend(loc="lower right")
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
