"""Random worlds, one after the other, with every checker on: `python -m sims.soak --worlds 2000`.

A world that breaks an invariant is printed with the command that replays it; its scenario is written under `--out`.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sims.names import ATTACKS
from sims.scenario import Scenario
from sims.seeds import Seeds, Stream
from sims.simulation import simulate

# The share of the worlds that have every fault.
ALL_AT_ONCE = 0.2


def random_scenario(seed: int) -> Scenario:
    """Return the small, unfriendly world of that seed: everything that a scenario can have, in random doses.

    One world in five has it all at once (`ALL_AT_ONCE`): churn with sleep, a cut, lost, repeated and reordered frames, and liars.
    """
    chance = Seeds(seed).child("soak").stream()
    some = chance.uniform
    consensus = some() < 0.5
    plain: dict[str, Any] = {
        "name": f"soak-{seed}",
        "peers": 2 + chance.below(11),
        "duration_s": 10.0 + 50.0 * some(),
        "seed": seed,
        "run": {
            "model": "consensus" if consensus else "softmax",
            "data": "blobs",
            "parameters": 1 + chance.below(3000),
            "codec": _pick(chance, "modular8", "modular8", "modular8", "modular4", "linear8", "dynamic8", "float32"),
            "rule": _pick(chance, "pairwise", "drift-corrected", "none") if not consensus else "pairwise",
            "slices": 1 + chance.below(6),
            "batch_size": 1 + chance.below(16),
            "exchange_interval_s": 0.05 + 2.0 * some(),
            "view_size": 1 + chance.below(6),
            "join_timeout_s": 15.0 * some(),
        },
        "classes": [_class(chance, 0.5), _class(chance, 0.5)],
        "arrivals": {"pattern": _pick(chance, "start", "gaps", "flash"), "within_s": 1.0 + 10.0 * some()},
        "latency": {
            "round_trip_ms": {"law": "log-normal", "median": 1.0 + 300.0 * some(), "sigma": 0.1 + some()},
            "per": _pick(chance, "pair", "message"),
            "jitter": some(),
        },
        "faults": {
            "loss": _maybe(chance, 0.5),
            "mode": _pick(chance, "retransmit", "drop"),
            "duplication": _maybe(chance, 0.3),
            "reordering": _maybe(chance, 0.3),
            "relay": some(),
            "unreachable": _maybe(chance, 0.3),
        },
        "evaluation": {"every_s": 10.0, "peers": 2, "test_examples": 100},
    }
    if some() < 0.3:
        plain["partitions"] = [{"at_s": 5.0 + 5.0 * some(), "heal_s": 12.0 + 20.0 * some(), "share": some()}]
    if some() < 0.3:
        absence = _pick(chance, "leave", "restart", "sleep")
        plain["exits"] = [{"at_s": 10.0 * some(), "share": some(), "back_after_s": 10.0 * some(), "absence": absence}]
    if some() < 0.2:
        plain["outages"] = [{"from_s": 5.0 * some(), "until_s": 10.0 + 10.0 * some()}]
    if some() < 0.3:
        plain["hostile"] = [{"attack": _pick(chance, *ATTACKS), "share": 0.05 + 0.3 * some()}]
    if some() < ALL_AT_ONCE:
        _throw_everything_at(plain, chance)
    return Scenario.from_plain(plain)


def _throw_everything_at(plain: dict[str, Any], chance: Stream) -> None:
    some = chance.uniform
    plain["peers"] = 6 + chance.below(7)
    plain["duration_s"] = 40.0 + 20.0 * some()
    mode = _pick(chance, "retransmit", "drop")
    plain["faults"].update(loss=0.02 + 0.3 * some(), mode=mode, duplication=0.02 + 0.3 * some(), reordering=0.02 + 0.3 * some())
    for entry, absence in zip(plain["classes"], ("sleep", _pick(chance, "leave", "restart")), strict=True):
        session = {"law": "exponential", "mean": 5.0 + 20.0 * some()}
        entry.update(session_s=session, absence_s=0.5 + 5.0 * some(), absence=absence)
    plain["partitions"] = [{"at_s": 10.0 + 5.0 * some(), "heal_s": 18.0 + 10.0 * some(), "share": 0.3 + 0.4 * some()}]
    plain["exits"] = [{"at_s": 30.0 * some(), "share": 0.5, "back_after_s": 1.0 + 5.0 * some(), "absence": "sleep"}]
    plain["hostile"] = [{"attack": _pick(chance, *ATTACKS), "share": 0.1 + 0.2 * some()}]


def _pick(chance: Stream, *choices: str) -> str:
    return choices[chance.below(len(choices))]


def _maybe(chance: Stream, most: float) -> float:
    return most * chance.uniform() if chance.uniform() < 0.5 else 0.0


def _class(chance: Stream, share: float) -> dict[str, Any]:
    some = chance.uniform
    entry: dict[str, Any] = {"share": share, "steps_per_s": 0.5 + 20.0 * some(), "polite": some()}
    if some() < 0.5:
        entry.update(up_mbps=0.05 + 5.0 * some(), down_mbps=0.05 + 5.0 * some())
    if some() < 0.5:
        entry.update(session_s={"law": "exponential", "mean": 3.0 + 30.0 * some()}, absence_s=0.1 + 10.0 * some())
        entry["absence"] = _pick(chance, "leave", "restart", "sleep")
    if some() < 0.3:
        entry.update(clock_skew=0.01 * some(), clock_offset_s=1000.0 * some())
    if some() < 0.2:
        entry["read_mbps"] = 0.05 + some()
    return entry


def soak(seed: int, out: Path | None = None) -> tuple[int, int, str]:
    """Run the world of a seed; return the seed, its events, and what went wrong, empty where nothing did.

    The scenario of a world that went wrong is written into `out`, or into a temporary folder.
    """
    scenario = random_scenario(seed)
    try:
        result = simulate(scenario, replay_folder=out)
    except Exception as problem:
        return seed, 0, f"{type(problem).__name__}: {problem} {'; '.join(getattr(problem, '__notes__', []))}"
    return seed, result.events, ""


def main(arguments: list[str] | None = None) -> int:
    """Run worlds until one breaks an invariant or all are done; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sims.soak", description="Run random worlds with every checker on.")
    parser.add_argument("--worlds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="the first world's seed")
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--out", type=Path, help="where the scenario of a broken world goes; a temporary folder unless given")
    given = parser.parse_args(arguments)
    began, events = time.perf_counter(), 0
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        for count, (seed, here, problem) in enumerate(
            pool.map(partial(soak, out=given.out), range(given.seed, given.seed + given.worlds), chunksize=8), 1
        ):
            events += here
            if problem:
                sys.stdout.write(f"world {seed}: {problem}\n")
                pool.shutdown(cancel_futures=True)
                return 1
            if not count % 100:
                sys.stdout.write(f"{count} worlds, {events:,} events, {time.perf_counter() - began:.0f} s\n")
                sys.stdout.flush()
    sys.stdout.write(f"{given.worlds} worlds, {events:,} events, no invariant broken\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
