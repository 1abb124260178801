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


@dataclass
class Result:
    """A run of a scenario, whole or as far as it came."""

    scenario: Scenario
    trace_hash: str
    events: int
    wall_s: float
    complete: bool
    series: list[dict[str, float]] = field(default_factory=list)
    peers: list[dict[str, Any]] = field(default_factory=list)

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
        """Write summary.json, scenario.toml, series and peers (CSV, and Parquet where pyarrow is installed); return the files."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "summary.json", folder / "scenario.toml"]
        files[0].write_text(json.dumps(_finite(self.summary()), indent=1) + "\n", encoding="utf-8")
        files[1].write_text(self.scenario.to_toml(), encoding="utf-8")
        files += write_table(folder / "series", self.series) + write_table(folder / "peers", self.peers)
        return files


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}


def write_table(stem: Path, rows: Sequence[Row]) -> list[Path]:
    """Write rows as STEM.csv and, where pyarrow is installed, STEM.parquet; return the files."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = stem.with_suffix(".csv")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()})
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return [table]
    columns = {name: [_cell(row.get(name)) for row in rows] for name in names}
    parquet = stem.with_suffix(".parquet")
    pyarrow.parquet.write_table(pyarrow.table(columns), parquet, compression="zstd")
    return [table, parquet]


def _cell(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read_series(path: Path) -> list[dict[str, float]]:
    """Read a series.csv back."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) if value else math.nan for key, value in row.items()} for row in csv.DictReader(file)]
