"""The same worlds under several rules, the mesh's own and the methods of the literature, at equal time and at equal bytes."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshlearn.errors import SettingsError
from sims import plots, report
from sims.baselines import refusal
from sims.listing import shown, span
from sims.names import METHODS, RULES
from sims.results import write_table
from sims.scenario import Scenario
from sims.sweeps import Cell, Cells, Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = list[dict[str, float]]
Row = dict[str, Any]
# What the tables show, and under which heading; 80 characters are enough for it.
TIME_COLUMNS = {
    "method": "method",
    "accuracy": "accuracy %",
    "worst_peer": "worst peer",
    "judged": "of",
    "disagreement": "disagreement",
    "megabytes": "MB",
}
BYTES_COLUMNS = {
    "method": "method",
    "accuracy_at_equal_bytes": "accuracy %",
    "megabytes_at_equal_bytes": "MB by then",
    "seconds_at_equal_bytes": "at s",
    "seeds_at_equal_bytes": "seeds",
}
# A consensus run has no accuracy: how far its vectors are apart is all there is.
UNTRAINED_TIME_COLUMNS = {"method": "method", "variance": "variance", "megabytes": "MB"}
UNTRAINED_BYTES_COLUMNS = {
    "variance_at_equal_bytes" if "accuracy" in name else name: ("variance" if "accuracy" in name else head)
    for name, head in BYTES_COLUMNS.items()
}
FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("the mesh's rules", ("mesh", "mesh:drift-corrected", "mesh:pairwise", "mesh:none")),
    ("bounds", ("one-machine", "isolated")),
    ("a server", ("parameter-server", "task-queue", "federated-averaging")),
    ("rounds without a server", ("all-reduce", "noloco")),
    ("fixed graphs", ("d-psgd-ring", "d-psgd-regular", "choco-sgd")),
    ("gossip", ("ad-psgd", "partitioned-gossip", "partitioned-gossip-tokens", "epidemic", "naive-8-bit")),
)


@dataclass(frozen=True)
class Comparison(Plan):
    """A plan whose cells are named rows: a method, or the mesh with one of its averaging rules (`mesh:pairwise`)."""

    rows: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Why a row is not there, one sentence each."""

    @classmethod
    def of(cls, base: Scenario, rows: Sequence[str], seeds: int) -> Comparison:
        """Return the comparison of some rows, all that the scenario allows where none is named, from the scenario's seed on.

        Raises SettingsError where a row is not known, or is named and cannot run in this scenario.
        """
        kept, left_out = [], []
        for name in dict.fromkeys(rows or every_row()):
            check_row(name)
            try:
                said = refusal(row_scenario(base, name))
            except SettingsError as problem:
                said = str(problem)
            if said and rows:
                raise SettingsError(said)
            if said:
                left_out.append(said)
            else:
                kept.append(name)
        return cls(
            f"{base.name}-compared",
            base,
            [base.seed + index for index in range(seeds)],
            {},
            rows=tuple(kept),
            left_out=tuple(left_out),
        )

    def cells(self) -> list[Cell]:
        """Return a cell for each row and seed; seeds vary fastest."""
        worlds = [(name, row_scenario(self.base, name)) for name in self.rows]
        return [
            Cell((("method", name),), seed, dataclasses.replace(world, seed=seed))
            for name, world in worlds
            for seed in self.seeds
        ]


def every_row() -> list[str]:
    """Return the mesh with each of its rules, and all methods of the literature."""
    return [*(f"mesh:{rule}" for rule in RULES), *(method for method in METHODS if method != "mesh")]


def check_row(name: str) -> None:
    """Raise SettingsError where there is no such method or rule."""
    method, _, rule = name.partition(":")
    if method not in METHODS or (rule and method != "mesh"):
        raise SettingsError(f'There is no method "{name}"; choose from mesh, {", ".join(every_row())}.')
    if ":" in name and rule not in RULES:
        raise SettingsError(f'The mesh has no averaging rule "{rule}"; choose from {", ".join(RULES)}.')


def row_scenario(base: Scenario, name: str) -> Scenario:
    """Return the scenario of a row; raises SettingsError that names the row where the scenario does not allow it."""
    method, _, rule = name.partition(":")
    settings = {"run.method": method, **({"run.rule": rule} if rule else {})}
    return base.varied(settings, dict.fromkeys(settings, name))


def compared(plan: Plan, cells: Cells, folder: Path) -> list[Row]:
    """Write tables, figures and report of a comparison; return one row a method, the best at equal time first.

    Equal time is the end of the run. Equal bytes are, seed by seed, those that the mesh has sent by then with the scenario's
    rule (else with the first rule that exchanges; without a mesh, those of the thriftiest method that sends at all); who never
    sends as many is measured at its end. Means have 95 % confidence intervals over the seeds.
    """
    groups: dict[str, dict[int, Series]] = {}
    for cell, outcome in cells:
        groups.setdefault(str(cell.settings[0][1]), {})[cell.seed] = outcome["series"]
    reference = reference_row(plan.base.run.rule, groups)
    budgets = _budgets(groups, reference)
    rows = [_row(name, runs, budgets) for name, runs in groups.items()]
    rows.sort(key=lambda row: _best_first(row, ""))
    write_table(folder / "table", rows)
    write_table(folder / "cells", [{**cell.columns, **outcome["summary"]} for cell, outcome in cells])
    order = [row["method"] for row in rows]
    figures = _figures({name: list(groups[name].values()) for name in order}, reference, plots.mean(list(budgets.values())))
    plots.write_figures({name: figure for name, (figure, _) in figures.items()}, folder / "plots")
    body = [f"<p>{plan.base.name}: {plan.base.peers} peers, seeds {', '.join(map(str, plan.seeds))}</p>"]
    for title, columns, sorted_rows in tables(plan, rows):
        cells_shown = [[shown_cell(row, name) for name in columns] for row in sorted_rows]
        body += [f"<h2>{title}</h2>", report.table(list(columns.values()), cells_shown)]
    left_out = plan.left_out if isinstance(plan, Comparison) else ()
    if left_out:
        body += ["<h2>Left out</h2>", f"<ul>{''.join(f'<li>{html.escape(said)}</li>' for said in left_out)}</ul>"]
    body += ["<h2>Curves</h2>", report.figures_grid(figures)]
    report.write_page(plan.name, body, folder / "report.html")
    return rows


def tables(plan: Plan, rows: Sequence[Row]) -> list[tuple[str, dict[str, str], list[Row]]]:
    """Return title, columns with their headings, and rows of the two tables, each sorted by its own accuracy."""
    equal = sorted(rows, key=lambda row: _best_first(row, "_at_equal_bytes"))
    trained = any(not math.isnan(row["accuracy"]) for row in rows)
    time_columns = TIME_COLUMNS if trained else UNTRAINED_TIME_COLUMNS
    bytes_columns = BYTES_COLUMNS if trained else UNTRAINED_BYTES_COLUMNS
    budget = max((row["megabytes_budget"] for row in rows), default=math.nan)
    return [
        (f"At equal time: {plan.base.duration_s:g} s", time_columns, list(rows)),
        (f"At equal bytes: {shown(budget)} MB", bytes_columns, equal),
    ]


def shown_cell(row: Row, name: str) -> str:
    """Return a value of a row as a person reads it: accuracies in per cent, with half of their interval where they have one."""
    if name == "judged":
        return span([row["peers_evaluated_least"], row["peers_evaluated_most"]]) or "-"
    value, width = row[name], row.get(f"{name}_interval")
    if name == "seeds_at_equal_bytes":
        return f"{value} of {row['seeds']}"
    if width is None or math.isnan(value):
        return shown(value)
    return f"{100.0 * value:.1f}" if math.isnan(width) else f"{100.0 * value:.1f} ± {100.0 * width:.1f}"


def _best_first(row: Row, when: str) -> tuple[float, float]:
    accuracy, variance = row[f"accuracy{when}"], row[f"variance{when}"]
    return math.inf if math.isnan(accuracy) else -accuracy, math.inf if math.isnan(variance) else variance


def reference_row(rule: str, names: Collection[str]) -> str:
    """Return the row of the mesh that the others are compared with, empty where there is none."""
    wanted = ["mesh", f"mesh:{rule}", *(f"mesh:{name}" for name in RULES if name != "none")]
    return next((name for name in wanted if name in names), "")


def _budgets(groups: dict[str, dict[int, Series]], reference: str) -> dict[int, float]:
    found: dict[int, float] = {}
    for runs in [groups[reference]] if reference else groups.values():
        for seed, series in runs.items():
            spent = series[-1]["bytes"]
            if spent > 0:
                found[seed] = min(spent, found.get(seed, math.inf))
    return found


def _row(name: str, runs: dict[int, Series], budgets: dict[int, float]) -> Row:
    finals = [series[-1] for series in runs.values()]
    equal = [row_at(series, budgets.get(seed, math.nan)) for seed, series in runs.items()]
    row: Row = {"method": name, "seeds": len(runs)}
    for column, values in (
        ("accuracy", [_number(final["accuracy"]) for final in finals]),
        ("worst_peer", [_number(final["accuracy_worst"]) for final in finals]),
        ("accuracy_at_equal_bytes", [_number(found.get("accuracy")) for found in equal]),
    ):
        row[column] = plots.mean(values)
        row[f"{column}_interval"] = plots.interval(values)
    row["variance"] = plots.mean([_number(final.get("variance")) for final in finals])
    row["variance_at_equal_bytes"] = plots.mean([_number(found.get("variance")) for found in equal])
    row["seeds_at_equal_bytes"] = sum(bool(found) for found in equal)
    judged = [_number(final.get("peers_evaluated")) for final in finals]
    row["peers_evaluated_least"], row["peers_evaluated_most"] = min(judged), max(judged)
    row["megabytes"] = plots.mean([final["bytes"] for final in finals]) / 1e6
    row["disagreement"] = plots.mean([_number(final["disagreement"]) for final in finals])
    row["megabytes_at_equal_bytes"] = plots.mean([_number(found.get("bytes")) for found in equal]) / 1e6
    row["seconds_at_equal_bytes"] = plots.mean([_number(found.get("time_s")) for found in equal])
    row["megabytes_budget"] = plots.mean([budgets.get(seed, math.nan) for seed in runs]) / 1e6
    return row


def row_at(series: Series, budget: float) -> dict[str, float]:
    """Return what a series was like at so many bytes: between two rows linearly, beyond the last one as that was.

    An empty row where the first is over: what was before it nobody has measured.
    """
    within = sum(row["bytes"] <= budget for row in series)
    if not within or within == len(series):
        return series[-1] if within else {}
    before, after = series[within - 1], series[within]
    part = (budget - before["bytes"]) / (after["bytes"] - before["bytes"])
    return {name: _number(value) + part * (_number(after.get(name)) - _number(value)) for name, value in before.items()}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _figures(curves: dict[str, list[Series]], reference: str, budget: float) -> dict[str, tuple[Figure, str]]:
    means = plots.band_caption(1, max(map(len, curves.values()), default=0))
    bands = f"{means} The thick line is the mesh, the same in every panel."
    sent = "Who sends nothing is not there; the dotted vertical line is the mesh's traffic."
    over_time, over_bytes = ("time_s", "time / s", 1.0), ("bytes", "traffic of all peers / MB", 1e-6)
    accuracy = ("accuracy", "accuracy of the mean model / %")
    if not any(not math.isnan(_number(runs[0][-1].get("accuracy"))) for runs in curves.values()):
        variance = ("variance", "variance")
        return {
            "variance-over-time": (_panels(curves, reference, over_time, variance), bands),
            "variance-over-bytes": (_panels(curves, reference, over_bytes, variance, budget), f"{bands} {sent}"),
        }
    return {
        "accuracy-over-time": (_panels(curves, reference, over_time, accuracy), bands),
        "accuracy-over-bytes": (_panels(curves, reference, over_bytes, accuracy, budget), f"{bands} {sent}"),
        "disagreement-over-time": (_panels(curves, reference, over_time, ("disagreement", "relative disagreement")), bands),
    }


def _panels(
    curves: dict[str, list[Series]],
    reference: str,
    x: tuple[str, str, float],
    y: tuple[str, str],
    budget: float = math.nan,
) -> Figure:
    """Return a panel for each family that has rows, with the mesh in each: seventeen curves in one nobody can tell apart."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if x[0] == "bytes":
        curves = {name: runs for name, runs in curves.items() if any(series[-1]["bytes"] > 0 for series in runs)}
    families = [(title, [name for name in curves if name in members]) for title, members in FAMILIES]
    families = [(title, members) for title, members in families if members]
    if len(families) > 1:
        # Where the mesh's own rules are not compared with each other, its line in every panel is enough.
        families = [(title, members) for title, members in families if members != [reference]]
    columns = max(1, min(3, len(families)))
    lines = max(1, -(-len(families) // columns))
    _, factor, logarithmic = plots.COMPARED[y[0]]
    top = 100.0 if factor == 100.0 else math.inf
    with mpl.rc_context(plots.STYLE):
        figure = Figure(layout="constrained", figsize=(0.6 + 2.3 * columns, 0.4 + 1.9 * lines))
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (title, members) in zip(grid.flat, families, strict=False):
            axes.set_title(title)
            if reference in curves:
                own = reference in members
                _curve(axes, curves[reference], x, y[0], reference if own else "", "#000000", 1.8, banded=own)
            others = [name for name in members if name != reference]
            for colour, name in zip(plots.COLOURS, others, strict=False):
                _curve(axes, curves[name], x, y[0], name, colour, 1.0)
            axes.legend(
                loc="best",
                fontsize=6,
                handlelength=1.4,
                frameon=True,
                framealpha=0.8,
            )
            if not math.isnan(budget):
                axes.set_xscale("log")
                axes.axvline(budget * x[2], color="#000000", ls=":", lw=0.8)
            if not logarithmic:
                axes.set_ylim(0.0, top)
        if logarithmic:
            # The panels share their axes.
            lines_drawn = [line for axes in grid.flat for line in axes.get_lines() if line.get_zorder() == 3]
            plots.fit(grid.flat[0], [float(value) for line in lines_drawn for value in line.get_ydata()], top, True)
        for index in range(len(families), lines * columns):
            grid.flat[index].set_axis_off()
            grid.flat[index - columns].tick_params(labelbottom=True)
        figure.supxlabel(x[1], fontsize=8)
        figure.supylabel(y[1], fontsize=8)
        return figure


def _curve(
    axes: Axes,
    runs: list[Series],
    x: tuple[str, str, float],
    y_name: str,
    label: str,
    colour: str,
    width: float,
    banded: bool = True,
) -> None:
    _, factor, logarithmic = plots.COMPARED[y_name]
    rows = list(zip(*runs, strict=False))
    along = [plots.mean([row[x[0]] for row in group]) * x[2] for group in rows]
    middle = [plots.mean([_number(row[y_name]) for row in group]) * factor for group in rows]
    half = [plots.interval([_number(row[y_name]) for row in group]) * factor for group in rows]
    if x[0] == "bytes":
        sent = [index for index, count in enumerate(along) if count > 0.0]
        along, middle, half = ([values[index] for index in sent] for values in (along, middle, half))
    if logarithmic:
        # What is one model is not apart: such an axis has no 0.
        middle = [value if value > 0.0 else math.nan for value in middle]
    axes.plot(along, middle, color=colour, lw=width, label=label or None, zorder=3)
    if not banded:
        return
    low, high = plots.band(middle, half, 100.0 if factor == 100.0 else math.inf, logarithmic)
    axes.fill_between(along, low, high, color=colour, alpha=0.06, lw=0)
