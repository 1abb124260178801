"""When machines come for the first time, and when an imported trace says that they come and go."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from meshlearn.errors import SettingsError
from sims.scenario import Scenario
from sims.seeds import Seeds


def arrival_times(scenario: Scenario, seeds: Seeds) -> list[float]:
    """Return when each machine comes for the first time, in seconds."""
    arrivals, peers = scenario.arrivals, scenario.peers
    generator = seeds.child("arrivals").numpy()
    if arrivals.pattern == "start":
        return [float(time) for time in generator.uniform(0.0, arrivals.within_s, peers)] if arrivals.within_s else [0.0] * peers
    if arrivals.pattern == "flash":
        early = generator.uniform(0.0, arrivals.within_s, peers)
        late = generator.uniform(arrivals.within_s, max(scenario.duration_s, arrivals.within_s), peers)
        return [float(time) for time in np.where(generator.random(peers) < arrivals.share, early, late)]
    # Weibull gaps whose mean brings the last one in at within_s; a shape of 1 is a Poisson process.
    mean = math.gamma(1.0 + 1.0 / arrivals.gap_shape)
    gaps = generator.weibull(arrivals.gap_shape, peers) / mean * ((arrivals.within_s or scenario.duration_s) / peers)
    times = np.cumsum(gaps)
    if arrivals.diurnal:
        times = _warped(times, arrivals.diurnal, arrivals.period_s)
    return [float(time) for time in times]


def _warped(times: np.ndarray, amplitude: float, period_s: float) -> Any:
    """Return the times at which a rate of 1 + amplitude * sin(2 pi t / period) has let as much pass as a rate of 1 by `times`."""
    grid = np.linspace(0.0, 2.0 * float(times[-1]) + period_s, 20_001)
    turn = 2.0 * math.pi / period_s
    passed = grid + amplitude / turn * (1.0 - np.cos(turn * grid))
    return np.interp(times, passed, grid)


def read_availability(path: Path, peers: int) -> list[tuple[int, float, float]]:
    """Read a CSV file of peer, on, off (seconds); return (number, on, off) of the first `peers` names, in the order of the file.

    Lines may stand in any order; those of one peer that overlap or meet are one stay. Raises SettingsError that names the line.
    """
    stays: dict[str, list[tuple[float, float]]] = {}
    line = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line, row in enumerate(csv.reader(file), 1):
                if not row or (line == 1 and row[-1].strip().lower() == "off"):
                    continue
                try:
                    name, on, off = row[0].strip(), float(row[1]), float(row[2])
                except (ValueError, IndexError):
                    raise SettingsError(f"{path}, line {line}: expected peer, on, off (seconds).") from None
                if len(row) != 3 or not 0 <= on < off < math.inf:
                    raise SettingsError(f"{path}, line {line}: expected peer, on, off with 0 <= on < off.")
                stays.setdefault(name, []).append((on, off))
    except OSError as problem:
        raise SettingsError(f"The availability in {path} cannot be read: {problem.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is no text in UTF-8; expected lines of peer, on, off (seconds).") from None
    except csv.Error as problem:
        raise SettingsError(f"{path}, line {line + 1}: expected peer, on, off (seconds), but {problem}.") from None
    if not stays:
        raise SettingsError(f"{path} holds no line of peer, on, off.")
    return [(number, on, off) for number, name in enumerate(list(stays)[:peers]) for on, off in _merged(stays[name])]


def _merged(stays: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the stays in the order of time, those that overlap or meet as one."""
    merged: list[tuple[float, float]] = []
    for on, off in sorted(stays):
        if merged and on <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(off, merged[-1][1]))
        else:
            merged.append((on, off))
    return merged
