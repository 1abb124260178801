"""A run's figures in words and units, and its peers in tables: what the report and the terminal show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sims.results import Result

ROWS_MAX = 200
# The figures of a summary by group: name and label. What has no label here stands under the last heading, in words of its name.
_GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Run",
        (
            ("scenario", "scenario"),
            ("method", "method"),
            ("seed", "seed"),
            ("peers", "peers in all"),
            ("complete", "complete"),
            ("time_s", "simulated time"),
            ("wall_s", "real time"),
            ("events", "events"),
            ("trace_hash", "trace"),
        ),
    ),
    (
        "Model",
        (
            ("final_accuracy", "accuracy, mean model"),
            ("final_accuracy_worst", "accuracy, worst peer"),
            ("final_accuracy_median", "accuracy, median peer"),
            ("final_accuracy_best", "accuracy, best peer"),
            ("final_loss", "loss, mean model"),
            ("best_accuracy", "best accuracy, mean model"),
            ("time_to_90_percent_of_best_s", "time to 90 % of it"),
            ("bytes_to_90_percent_of_best", "traffic to 90 % of it"),
            ("final_disagreement", "relative disagreement"),
            ("final_variance", "variance"),
            ("final_peers_evaluated", "peers judged"),
        ),
    ),
    (
        "Peers and training",
        (
            ("final_peers_online", "peers online"),
            ("final_peers_ready", "peers with a model"),
            ("final_steps", "training steps"),
            ("final_samples", "examples trained on"),
        ),
    ),
    (
        "Network",
        (
            ("final_bytes", "traffic, headers included"),
            ("final_bytes_out", "sent, frames alone"),
            ("final_bytes_in", "received, frames alone"),
            ("final_frames", "frames sent"),
            ("final_frames_lost", "frames lost"),
            ("final_frames_discarded", "frames discarded"),
            ("final_links", "links open"),
            ("final_links_opened", "links opened, both ends"),
            ("final_links_lost", "links lost, both ends"),
            ("final_links_replaced", "links replaced"),
        ),
    ),
    (
        "Exchanges and messages",
        (
            ("final_exchanges_begun", "exchanges begun"),
            ("final_exchanges_accepted", "slices averaged, both sides"),
            ("final_exchanges_retried", "requests tried wider"),
            ("final_exchanges_resent", "requests sent again"),
            ("final_exchanges_declined", "requests declined"),
            ("final_exchanges_refused", "slices refused"),
            ("final_messages_refused", "messages refused"),
            ("final_exchanges_abandoned", "requests never answered"),
            ("final_exchanges_repeated", "repeats answered"),
            ("final_exchanges_clipped", "changes clipped"),
            ("final_wrong_decodes", "wrong decodes"),
            ("final_slices_pulled", "slices pulled"),
            ("final_slices_served", "slices served"),
        ),
    ),
)


def shown(value: Any) -> str:
    """Return a value as a person reads it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def known(value: Any) -> bool:
    """Return whether there is a value."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def with_unit(name: str, value: Any) -> str:
    """Return a value of a summary with its unit."""
    if not known(value):
        return "-"
    if "accuracy" in name:
        return f"{100.0 * value:.1f} %"
    if "bytes" in name:
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.3g} {unit}" if value < 1000 * size else f"{value / size:,.0f} {unit}"
        return f"{value:.0f} B"
    # A seed and a hash are names, not amounts.
    return f"{shown(value)} s" if name.endswith("_s") else str(value) if name == "seed" else shown(value)


def plus_minus(value: float, width: float) -> str:
    """Return a mean with half the width of its interval, to the digits that the interval leaves sure."""
    if math.isnan(width) or math.isnan(value):
        return shown(value)
    if width == 0:
        return f"{shown(value)} ± 0"
    size = math.floor(math.log10(width))
    decimals = max(0, -size + (width / 10.0**size < 2.0))
    return f"{value:,.{decimals}f} ± {width:,.{decimals}f}"


def span(counts: Sequence[float]) -> str:
    """Return one number, or the least and the most: "30" or "12-30"; empty where none is known."""
    there = [count for count in counts if known(count)]
    if not there:
        return ""
    low, high = min(there), max(there)
    return f"{low:,.0f}" if low == high else f"{low:,.0f}-{high:,.0f}"


def summary_groups(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the summary's figures as headings with labels and values with their units; what is not known is left out."""
    left = {name: value for name, value in result.summary().items() if known(value)}
    judged = left.get("final_peers_evaluated", 0)
    found = []
    for title, entries in _GROUPS:
        rows = [(label, with_unit(name, left.pop(name))) for name, label in entries if name in left]
        rows = [(f"{label[:-4]}of {judged:,.0f}" if label.endswith("worst peer") else label, value) for label, value in rows]
        found.append((title, rows))
    found.append(("Further counts", [(_words(name), with_unit(name, value)) for name, value in left.items()]))
    return [(title, rows) for title, rows in found if rows]


def _words(name: str) -> str:
    return name.removeprefix("final_").removesuffix("_s").replace("_", " ")


# A sweep's columns: the measure, the head, what it is multiplied by, and its unit.
SWEPT = (
    ("accuracy", "accuracy", 100.0, " %"),
    ("accuracy_worst", "worst peer", 100.0, " %"),
    ("disagreement", "disagreement", 1.0, ""),
    ("bytes", "traffic", 1e-6, " MB"),
    ("steps", "steps", 1.0, ""),
)


def swept(rows: Sequence[Mapping[str, Any]], columns: int = len(SWEPT)) -> tuple[list[str], list[list[str]]]:
    """Return head and cells of a sweep's table, the first so many measures: means with their 95 % confidence intervals."""
    most = max((row["seeds"] for row in rows), default=0)
    measured = [column for column in SWEPT[:columns] if any(known(row[column[0]]) for row in rows)]
    judged = span([row[name] for row in rows for name in ("peers_evaluated_least", "peers_evaluated_most")])
    heads = {"accuracy_worst": f"worst of {judged}"} if judged else {}
    lines = []
    for row in rows:
        few = f" ({counted(row['seeds'], 'seed')})" if row["seeds"] < most else ""
        cells = [plus_minus(row[name] * scale, row[f"{name}_interval"] * scale) + unit for name, _, scale, unit in measured]
        lines.append([row["settings"] + few, *cells])
    return ["settings", *(heads.get(name, head) for name, head, _, _ in measured)], lines


def counted(count: int, what: str) -> str:
    """Return a number of things: "1 seed", "2 seeds"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


CLASS_HEAD = (
    *("class", "peers", "online at the end", "time online", "steps", "sent", "received"),
    *("judged", "worst", "median", "best"),
)
PEER_HEAD = ("peer", "class", "accuracy", "steps", "time online", "sessions", "sent", "received", "links", "hostile")


def class_rows(peers: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return one row a class (CLASS_HEAD): counts, means a peer, and the accuracies of the peers' own models."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for peer in peers:
        groups.setdefault(f"{peer['class']}, hostile" if peer["hostile"] else str(peer["class"]), []).append(peer)
    return [(name, *_class_row(members)) for name, members in groups.items()]


def _class_row(members: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    def mean(name: str) -> float:
        values = [float(peer[name]) for peer in members if known(peer.get(name))]
        return sum(values) / len(values) if values else math.nan

    accuracies = [peer["accuracy"] for peer in members if known(peer["accuracy"])]
    judged = (min(accuracies), statistics.median(accuracies), max(accuracies)) if accuracies else (math.nan,) * 3
    return (
        f"{len(members):,}",
        f"{sum(peer['online_at_end'] for peer in members):,}",
        f"{mean('online_s'):,.0f} s",
        f"{mean('steps'):,.0f}",
        with_unit("bytes", mean("bytes_out")),
        with_unit("bytes", mean("bytes_in")),
        f"{len(accuracies):,}",
        *(with_unit("accuracy", value) for value in judged),
    )


def peer_rows(peers: Sequence[Mapping[str, Any]], most: int = ROWS_MAX) -> list[tuple[str, ...]]:
    """Return one row a peer (PEER_HEAD) of at most so many, the least accurate first; those that were not judged stand last."""
    order = sorted(peers, key=lambda peer: (peer["accuracy"] if known(peer["accuracy"]) else math.inf, peer["peer"]))
    return [
        (
            str(peer["peer"]),
            str(peer["class"]),
            with_unit("accuracy", peer["accuracy"]),
            f"{peer['steps']:,}",
            f"{peer['online_s']:,.0f} s",
            f"{peer['sessions']:,}",
            with_unit("bytes", peer.get("bytes_out")),
            with_unit("bytes", peer.get("bytes_in")),
            shown(peer.get("links")),
            str(peer["hostile"]) or "-",
        )
        for peer in order[:most]
    ]
