"""What the demo leaves behind: history, curves, and a summary with one process that trained on all the data beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meshlearn.cli.output import short_bytes
from meshlearn.learning.datasets import open_dataset
from meshlearn.learning.engines import make_engine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import initial_vector
from meshlearn.learning.trainer import Trainer
from meshlearn.plots import plot_history
from meshlearn.runtime.checkpoint import Evaluation, write_atomically, write_history
from meshlearn.runtime.run import Run

EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Baseline:
    """One process that trained on all the data."""

    accuracy: float
    samples: int


def train_baseline(run: Run, data: str, samples: int) -> Baseline:
    """Train the run's model in this process on all of `data` for that many samples, with the run's settings, and evaluate it."""
    train, test = open_dataset(data)
    batch_size = run.settings.batch_size
    engine = make_engine("numpy", run.spec, max(batch_size, EVALUATION_BATCH), train.scale)
    trainer = Trainer(
        engine, make_optimiser(run.settings.optimiser, run.spec.parameter_count), train, batch_size, run.settings.seed
    )
    vector = initial_vector(run.spec, run.settings.seed)
    change = np.empty_like(vector)
    while trainer.samples < samples:
        trainer.change(vector, change)
        vector += change
    return Baseline(engine.evaluate(vector, test).accuracy, trainer.samples)


def write_report(
    directory: Path, run: Run, history: list[Evaluation], statuses: list[dict[str, Any]], baseline: Baseline, reason: str
) -> str:
    """Write history.csv, curves.png and summary.txt into `directory`; return the summary."""
    write_history(directory / "history.csv", history)
    plot_history(directory / "curves.png", history, run.title, run.settings.goal_accuracy, baseline.accuracy)
    summary = summarise(directory, run, history, statuses, baseline, reason)
    write_atomically(directory / "summary.txt", summary.encode())
    return summary


def summarise(
    directory: Path, run: Run, history: list[Evaluation], statuses: list[dict[str, Any]], baseline: Baseline, reason: str
) -> str:
    """Return the summary, one screen of text."""
    last = history[-1]
    total = {name: sum(status.get(name) or 0 for status in statuses) for name in _SUMMED}
    attempts = total["exchanges_begun"] or 1
    goal = run.settings.goal_accuracy
    to_goal = next((point.time_s for point in history if goal is not None and point.accuracy >= goal), None)
    gap = 100 * (baseline.accuracy - last.accuracy)
    late = max((status.get("loop_late_ms_max", 0.0) for status in statuses), default=0.0)
    usually_late = max((status.get("loop_late_ms_p99", 0.0) for status in statuses), default=0.0)
    lines = [
        f"{run.title}: run {run.id}",
        f"  {reason}",
        "",
        f"  test accuracy       {last.accuracy:6.1%}   mean model of {last.peers} peers"
        + (f"; {goal:.1%} reached after {to_goal:.1f} s of training" if goal is not None and to_goal is not None else ""),
        f"  one process         {baseline.accuracy:6.1%}   on all the data, {baseline.samples:,} samples as well",
        f"  difference          {gap:+5.1f} points",
        f"  disagreement        {last.disagreement:.4f}",
        f"  training            {total['steps']:,} steps, {total['samples']:,} samples, {last.time_s:.1f} s",
        f"  exchanges           {total['exchanges_begun']:,} begun, {total['exchanges_accepted']:,} slices averaged, "
        f"{total['exchanges_retried']:,} retried ({100 * total['exchanges_retried'] / attempts:.1f} %), "
        f"{total['exchanges_refused']:,} refused",
        f"  traffic             {short_bytes(total['bytes_out'])} sent, {short_bytes(total['bytes_in'])} received by "
        f"{len(statuses)} peers of {run.spec.parameter_count:,} parameters ({run.settings.codec})",
        f"  event loop          blocked for {usually_late:.1f} ms at most in 99 of 100 timers, {late:.1f} ms at worst",
        "",
        f"  {directory}/",
        "    model.safetensors   the mean model",
        "    history.csv         accuracy, loss, disagreement, traffic over time",
        "    curves.png          the same as a picture",
        "    summary.txt         this text",
    ]
    return "\n".join(lines) + "\n"


_SUMMED = (
    "steps",
    "samples",
    "exchanges_begun",
    "exchanges_accepted",
    "exchanges_retried",
    "exchanges_refused",
    "bytes_in",
    "bytes_out",
)
