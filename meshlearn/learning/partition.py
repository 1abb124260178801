"""Dividing a data set among peers: evenly, or skewed the way that real peers' data is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import SettingsError

Indices = NDArray[np.int64]
SKEW = re.compile(r"even|dirichlet:(?P<alpha>\d+(\.\d+)?)|classes:(?P<count>\d{1,5})")
PEERS_MAX = 1_000_000


def partition(labels: NDArray[Any], peers: int, skew: str, seed: int) -> list[Indices]:
    """Which examples each peer holds: every index of ``labels`` exactly once, at least one a peer, in shuffled order.

    - ``"even"``: shuffled and dealt; sizes differ by one at most.
    - ``"dirichlet:0.5"``: each class is divided by shares drawn from a Dirichlet distribution with that concentration (Hsu, Qi
      & Brown 2019); small values give each peer few classes and peers of very different size.
    - ``"classes:2"``: each peer holds at most so many classes (McMahan et al. 2017); each class is divided evenly among its
      holders, whose number differs by one at most between classes.

    A peer that a draw leaves with nothing is given one example of the peer that has most. The same seed divides the same way.
    Raises :class:`~meshlearn.errors.SettingsError` for an unknown skew, or where examples or peers are too few for it.
    """
    match = SKEW.fullmatch(skew)
    if match is None:
        raise SettingsError(f'The skew must be "even", "dirichlet:0.5" or "classes:2" (or another number), but it is "{skew}".')
    if not 1 <= peers <= min(PEERS_MAX, len(labels)):
        raise SettingsError(
            f"{len(labels)} examples can be divided among 1 to {min(PEERS_MAX, len(labels))} peers, but {peers} were asked for."
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    if match["alpha"] is not None:
        parts = _by_dirichlet(members, peers, float(match["alpha"]), generator)
    elif match["count"] is not None:
        parts = _by_classes(members, peers, int(match["count"]), generator)
    else:
        parts = np.array_split(generator.permutation(len(labels)), peers)
    _leave_none_empty(parts)
    return [generator.permutation(part) for part in parts]


def _by_dirichlet(members: list[Indices], peers: int, alpha: float, generator: np.random.Generator) -> list[Indices]:
    if not 1e-3 <= alpha <= 1e6:  # below, every draw is one peer up to rounding, and numpy's gammas underflow to 0 / 0
        raise SettingsError(f"The concentration of a dirichlet skew must be from 0.001 to 1000000, but it is {alpha:g}.")
    pieces: list[list[Indices]] = [[] for _ in range(peers)]
    for indices in members:
        shares = generator.dirichlet(np.full(peers, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(indices)).astype(np.int64)
        for peer, piece in enumerate(np.split(indices, cuts)):
            pieces[peer].append(piece)
    return [np.concatenate(piece) for piece in pieces]


def _by_classes(members: list[Indices], peers: int, count: int, generator: np.random.Generator) -> list[Indices]:
    if not 1 <= count <= len(members):
        raise SettingsError(f"A peer can hold 1 to {len(members)} classes of this data set, but {count} were asked for.")
    if peers * count < len(members):
        raise SettingsError(
            f"{peers} peers with {count} classes each cannot hold {len(members)} classes; "
            "have more peers, or more classes a peer."
        )
    holders: list[list[int]] = [[] for _ in members]
    held = np.zeros(len(members), np.int64)
    for peer in range(peers):  # each takes the classes that the fewest peers hold so far, ties by lot
        for label in np.lexsort((generator.random(len(members)), held))[:count]:
            holders[label].append(peer)
            held[label] += 1
    pieces: list[list[Indices]] = [[np.empty(0, np.int64)] for _ in range(peers)]
    for indices, takers in zip(members, holders, strict=True):
        for peer, piece in zip(takers, np.array_split(indices, len(takers)), strict=True):
            pieces[peer].append(piece)
    return [np.concatenate(piece) for piece in pieces]


def _leave_none_empty(parts: list[Indices]) -> None:
    sizes = np.array([len(part) for part in parts])
    for empty in np.flatnonzero(sizes == 0):
        largest = int(np.argmax(sizes))
        parts[empty], parts[largest] = parts[largest][-1:], parts[largest][:-1]
        sizes[empty], sizes[largest] = 1, sizes[largest] - 1
