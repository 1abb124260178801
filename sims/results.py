"""What a run leaves behind: series over time, a table of peers, a summary, the trace's hash; as CSV, Parquet and JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sims.scenario import Scenario

Row = Mapping[str, Any]
GOAL_SHARE = 0.9


@dataclass(repr=False)
class Result:
    """A run of a scenario, whole or as far as it came."""

    scenario: Scenario
    trace_hash: str
    events: int
    wall_s: float
    complete: bool
    series: list[dict[str, float]] = field(default_factory=list)
    peers: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        scenario, final = self.scenario, self.final
        measured = {"accuracy": "accuracy", "worst peer": "accuracy_worst", "disagreement": "disagreement"}
        known = [f"{label} {final[name]:.3g}" for label, name in measured.items() if not math.isnan(final.get(name, math.nan))]
        part = "" if self.complete else ", stopped early"
        return (
            f"<Result of {scenario.name}: {scenario.run.method}, {scenario.peers:,} peers, seed {scenario.seed}, "
            f"{final.get('time_s', 0.0):g} s{part}; {', '.join(known) or 'nothing measured'}; trace {self.trace_hash[:12]}>"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: figures and summary."""
        from sims.report import notebook_view

        return notebook_view(self)

    @property
    def final(self) -> dict[str, float]:
        """The last row of the series."""
        return self.series[-1] if self.series else {}

    def reached(self, accuracy: float) -> dict[str, float]:
        """Return the time and the bytes at which the mean model first had that accuracy; NaN where it never had."""
        for row in self.series:
            if row.get("accuracy", math.nan) >= accuracy:
                return {"time_s": row["time_s"], "bytes": row["bytes"]}
        return {"time_s": math.nan, "bytes": math.nan}

    def summary(self) -> dict[str, Any]:
        """Return what matters on one screen, as plain values."""
        final = self.final
        best = max((row["accuracy"] for row in self.series if not math.isnan(row.get("accuracy", math.nan))), default=math.nan)
        near = self.reached(GOAL_SHARE * best)
        return {
            "scenario": self.scenario.name,
            "method": self.scenario.run.method,
            "seed": self.scenario.seed,
            "peers": self.scenario.peers,
            "complete": self.complete,
            "time_s": final.get("time_s", 0.0),
            "events": self.events,
            "wall_s": round(self.wall_s, 3),
            "trace_hash": self.trace_hash,
            "best_accuracy": best,
            "time_to_90_percent_of_best_s": near["time_s"],
            "bytes_to_90_percent_of_best": near["bytes"],
            **{f"final_{name}": value for name, value in final.items() if name != "time_s"},
        }

    def write(self, folder: Path) -> list[Path]:
        """Write summary.json, scenario.toml, and series and peers as CSV and as Parquet; return the files."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "summary.json", folder / "scenario.toml"]
        files[0].write_text(json.dumps(_finite(self.summary()), indent=1) + "\n", encoding="utf-8")
        files[1].write_text(self.scenario.to_toml(), encoding="utf-8")
        files += write_table(folder / "series", self.series) + write_table(folder / "peers", self.peers)
        return files


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}


def write_table(stem: Path, rows: Sequence[Row]) -> list[Path]:
    """Write rows as STEM.csv and STEM.parquet (NaN is a missing value in both); return the files."""
    import pyarrow
    from pyarrow import parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    files = [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]
    with files[0].open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()})
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    parquet.write_table(pyarrow.table(columns), files[1], compression="zstd")
    return files


def _column(values: list[Any]) -> list[Any]:
    """Return values of one kind: whole numbers stay so unless there are others among them, NaN becomes None."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and kinds <= {int, float, bool}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def read_series(path: Path) -> list[dict[str, float]]:
    """Read a series.csv back."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) if value else math.nan for key, value in row.items()} for row in csv.DictReader(file)]
