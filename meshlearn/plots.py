"""Curves of a run as a PNG: accuracy, disagreement and traffic over time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from meshlearn.runtime.checkpoint import Evaluation, write_atomically

mpl.use("Agg")  # before pyplot is imported: no display is needed

import matplotlib.pyplot as plt

# Okabe & Ito's colours: told apart by everybody.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6B7280"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E7EB",
    "grid.linewidth": 0.8,
    "axes.edgecolor": "#9CA3AF",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}


def plot_history(
    path: Path, history: Sequence[Evaluation], title: str, goal: float | None, baseline: float | None = None
) -> None:
    """Write three panels over seconds: test accuracy (with goal and baseline, 0..1), relative disagreement, megabytes sent."""
    seconds = [point.time_s for point in history]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        accuracy, disagreement, traffic = axes
        accuracy.plot(
            seconds, [100 * point.accuracy for point in history], color=BLUE, lw=2, marker="o", ms=3, label="mean model"
        )
        if goal is not None:
            accuracy.axhline(100 * goal, color=GREEN, lw=1.2, ls="--", label=f"goal {goal:.1%}")
        if baseline is not None:
            accuracy.axhline(100 * baseline, color=GREY, lw=1.2, ls=":", label=f"one process, same samples {baseline:.1%}")
        accuracy.set(title="Test accuracy", ylabel="%", xlabel="seconds")
        accuracy.set_ylim(top=min(100.5, accuracy.get_ylim()[1] + 1.0))
        accuracy.legend(frameon=False, loc="lower right", fontsize=8)
        disagreement.plot(seconds, [point.disagreement for point in history], color=ORANGE, lw=2, marker="o", ms=3)
        disagreement.set(title="Disagreement between peers", ylabel="relative", xlabel="seconds")
        disagreement.set_ylim(bottom=0)
        traffic.plot(seconds, [point.bytes / 1e6 for point in history], color=GREEN, lw=2, marker="o", ms=3)
        traffic.set(title="Sent by all peers", ylabel="MB", xlabel="seconds")
        traffic.set_ylim(bottom=0)
        for panel in axes:
            panel.set_xlim(left=0)
        picture = io.BytesIO()
        figure.savefig(picture, dpi=150, format="png")
        plt.close(figure)
    write_atomically(path, picture.getvalue())
