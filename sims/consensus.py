"""Averaging alone, without protocol and network: the processes whose laws are known, many events in one numpy call.

What the theory knows of gossip (Jelasity, Montresor & Babaoglu 2005; Boyd, Ghosh, Prabhakar & Shah 2006) is held against these
processes, and the mesh of real peers in consensus mode against both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sims.topology import Neighbours

Values = NDArray[np.float64]
Pairs = NDArray[np.int64]
# Events that are looked at together; a few of them meet in a peer and fall into a later layer.
BLOCK = 256
SELECTIONS = ("matching", "random", "sequence")


def average_pairs(values: Values, pairs: Pairs) -> None:
    """Average float64 [n, d] rows along int64 [events, 2] pairs, in their order, to the bit as one by one.

    Pairs of a block that share no peer with an earlier one of the block form a layer and are averaged in one call.
    """
    for start in range(0, len(pairs), BLOCK):
        for layer in _layers(pairs[start : start + BLOCK]):
            one, other = layer[:, 0], layer[:, 1]
            middle = (values[one] + values[other]) * 0.5
            values[one] = middle
            values[other] = middle


def _layers(pairs: Pairs) -> Iterator[Pairs]:
    depth: dict[int, int] = {}
    layers: list[list[int]] = []
    for index, (one, other) in enumerate(pairs.tolist()):
        level = max(depth.get(one, 0), depth.get(other, 0))
        depth[one] = depth[other] = level + 1
        if level == len(layers):
            layers.append([])
        layers[level].append(index)
    for layer in layers:
        yield pairs[layer]


def cycle_pairs(selection: str, peers: int, generator: np.random.Generator) -> Pairs:
    """Return the pairs of one cycle of `peers` exchanges on the complete graph.

    "matching": two perfect matchings; "random": uniformly random pairs; "sequence": every peer begins once, with a random other.
    """
    if selection == "matching":
        return np.concatenate([generator.permutation(peers).reshape(-1, 2) for _ in range(2)])
    one = np.arange(peers) if selection == "sequence" else generator.integers(0, peers, peers)
    other = generator.integers(0, peers - 1, peers)
    return np.stack([one, other + (other >= one)], axis=1)


def variance(values: Values) -> float:
    """Return the mean squared distance of the rows to their mean."""
    return float(((values - values.mean(axis=0)) ** 2).sum(axis=1).mean())


def variance_per_cycle(selection: str, peers: int, cycles: int, loss: float, generator: np.random.Generator) -> float:
    """Return the factor by which the variance falls in a cycle, the geometric mean over the cycles.

    A share `loss` of the exchanges never happens.
    """
    values = generator.standard_normal((peers, 1))
    before = variance(values)
    for _ in range(cycles):
        pairs = cycle_pairs(selection, peers, generator)
        average_pairs(values, pairs[generator.random(len(pairs)) >= loss])
    return float((variance(values) / before) ** (1.0 / cycles))


def averaging_ticks(neighbours: Neighbours, epsilon: float, runs: int, generator: np.random.Generator) -> int:
    """Return the ticks after which the relative error is under epsilon in all but a share epsilon of the runs.

    At a tick a random peer averages with a random neighbour. At the start one peer has 1 and the others 0, near to the worst.
    All runs go on together: float64 [n, runs] with one pair of peers a run.
    """
    peers = len(neighbours)
    degrees = np.array([len(row) for row in neighbours])
    table = np.zeros((peers, degrees.max()), np.int64)
    for peer, row in enumerate(neighbours):
        table[peer, : len(row)] = row
    values = np.zeros((runs, peers))
    values[:, 0] = 1.0
    start = np.linalg.norm(values[0])
    every = np.arange(runs)
    tick = 0
    while True:
        one = generator.integers(0, peers, runs)
        other = table[one, (generator.random(runs) * degrees[one]).astype(np.int64)]
        middle = (values[every, one] + values[every, other]) * 0.5
        values[every, one] = middle
        values[every, other] = middle
        tick += 1
        if tick % peers == 0:
            error = np.linalg.norm(values - 1.0 / peers, axis=1) / start
            if float(np.mean(error >= epsilon)) <= epsilon:
                return tick
