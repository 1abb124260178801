"""The browser's engine beside the libraries that people would use instead, in one Chromium, and beside numpy: table and chart.

    python -m tests.bench --only browser_engine

trains nine MLPs, 784-{1,2,4}x{64,128,256}-10, on a batch of 64 (forward, backward, plain SGD). The chart goes to
results/browser-engines.png; `python -m tests.bench.bench_browser_engine FILE` writes it elsewhere.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.engine_chart import draw
from tests.bench.engines_in_chromium import MODELS, NUMPY, OWN, Contest, contest
from tests.bench.figures import Figure

CHART: Final = Path("results") / "browser-engines.png"
# How many times faster than each library the engine is to be, on every model.
LIMITS: Final = {"TensorFlow.js wasm": 5.0, "ConvNetJS": 10.0}
NUMPY_LIMIT: Final = 3.0


def run(short: bool, chart: Path = CHART) -> list[Figure]:
    """Measure: one model and one round in the short form, which draws nothing."""
    measured = asyncio.run(contest(MODELS[:1] if short else MODELS, rounds=1 if short else 5))
    if not short:
        console = Console(width=132)
        console.print(table_of(measured))
        draw(measured, chart)
        console.print(f"chart: {chart}")
    return figures_of(measured)


def figures_of(measured: Contest) -> list[Figure]:
    """For each library the model on which it comes nearest; its limit holds on every model, then."""
    figures = []
    for library in measured.libraries:
        if library in (OWN, NUMPY):
            continue
        ratios = measured.ratios(library)
        against = f"median {statistics.median(ratios):.1f}"
        figures.append(Figure(f"time of {library} / ours, least", min(ratios), "x", LIMITS.get(library), "higher", against))
    times = [1 / ratio for ratio in measured.ratios(NUMPY)]
    against = f"median {statistics.median(times):.2f}"
    figures.append(Figure(f"time of ours / {NUMPY}, most", max(times), "x", NUMPY_LIMIT, "lower", against))
    return figures


def table_of(measured: Contest) -> Table:
    """Milliseconds a batch, and how many times ours the others take."""
    table = Table(title=f"ms of one core for a batch of 64, in Chromium {measured.chromium} (times ours)", title_justify="left")
    table.add_column("model")
    for name in measured.libraries:
        table.add_column(name, justify="right")
    for model, row in measured.milliseconds.items():
        others = [f"{ms:.3g} ({ms / row[OWN]:.2g})" for name, ms in row.items() if name != OWN]
        table.add_row(model, f"{row[OWN]:.3g}", *others)
    return table


if __name__ == "__main__":
    from tests.bench.figures import print_figures

    print_figures("browser_engine", run(False, Path(sys.argv[1]) if len(sys.argv) > 1 else CHART))
