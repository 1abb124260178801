"""The chart of the browser's engines: a row a model, a dot a library, milliseconds on a logarithmic axis."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from tests.bench.engines_in_chromium import NUMPY, OWN, Contest

# Colour and marker of each library, in the order of the legend; distinguishable without colour, too.
_STYLES: Final = {
    NUMPY: ("#8a8f98", "|"),
    OWN: ("#0b6e4f", "o"),
    "jax-js wasm": ("#3f6fb5", "s"),
    "TensorFlow.js wasm": ("#d97706", "D"),
    "ConvNetJS": ("#a8326e", "^"),
    "TensorFlow.js cpu": ("#7a5195", "v"),
}


def draw(measured: Contest, path: Path) -> None:
    """Write the chart; the folder is made where it is missing."""
    rows = measured.milliseconds
    figure = Figure(figsize=(9.2, 4.9), layout="constrained")
    axes = figure.add_subplot()
    heights = list(range(len(rows)))
    for height, row in zip(heights, rows.values(), strict=True):
        axes.plot([row[OWN], max(row.values())], [height, height], color="#d6d9de", linewidth=1.2, zorder=1)
    for name, (colour, marker) in _STYLES.items():
        own = name == OWN
        axes.scatter(
            [row[name] for row in rows.values()],
            heights,
            label=f"{name} (not in the browser)" if name == NUMPY else name,
            color=colour,
            marker=marker,
            s=90 if own else 130 if marker == "|" else 42,
            linewidths=2.2 if marker == "|" else 0,
            zorder=4 if own else 3,
        )
    for height, row in zip(heights, rows.values(), strict=True):
        axes.annotate(
            f"{row['TensorFlow.js wasm'] / row[OWN]:.0f}x",
            (row["TensorFlow.js wasm"], height),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=_STYLES["TensorFlow.js wasm"][0],
        )
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds of one core for a training step on a batch of 64 (less is better)")
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.set_yticks(heights, rows.keys())
    axes.invert_yaxis()
    axes.grid(axis="x", color="#eceef1", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"Training in Chromium {measured.chromium.partition('.')[0]}", loc="left", fontsize=12, weight="bold")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
