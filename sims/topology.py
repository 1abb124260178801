"""Fixed graphs of peers, and what the theory says of averaging on them (Boyd, Ghosh, Prabhakar & Shah 2006)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import SettingsError

Neighbours = list[list[int]]
SWITCHES_MAX = 100_000


def make_topology(name: str, peers: int, degree: int, generator: np.random.Generator) -> Neighbours:
    """Return the neighbours of each peer, in rising order; `degree` counts for "regular" alone."""
    if name == "ring":
        return ring(peers)
    if name == "torus":
        return torus(peers)
    if name == "regular":
        return random_regular(peers, degree, generator)
    if name == "geometric":
        return random_geometric(peers, generator)
    if name == "complete":
        return complete(peers)
    raise SettingsError(f'There is no topology "{name}"; use ring, torus, regular, geometric or complete.')


def _from_edges(peers: int, edges: set[tuple[int, int]]) -> Neighbours:
    neighbours: Neighbours = [[] for _ in range(peers)]
    for one, other in sorted(edges):
        neighbours[one].append(other)
        neighbours[other].append(one)
    return [sorted(row) for row in neighbours]


def ring(peers: int) -> Neighbours:
    """Return a circle: two neighbours each."""
    return _from_edges(peers, {tuple(sorted((peer, (peer + 1) % peers))) for peer in range(peers) if peers > 1})  # type: ignore[misc]


def torus(peers: int) -> Neighbours:
    """Return a square grid whose borders meet: four neighbours each; raises SettingsError where the peers are no rectangle."""
    rows = math.isqrt(peers)
    while peers % rows:
        rows -= 1
    columns = peers // rows
    if rows < 3:
        raise SettingsError(f"{peers} peers make no torus; give a number such as 16, 64, 100 or 1,024.")
    edges = set()
    for row in range(rows):
        for column in range(columns):
            here = row * columns + column
            for there in (row * columns + (column + 1) % columns, (row + 1) % rows * columns + column):
                edges.add((min(here, there), max(here, there)))
    return _from_edges(peers, edges)


def complete(peers: int) -> Neighbours:
    """Return everybody linked with everybody."""
    return [[other for other in range(peers) if other != peer] for peer in range(peers)]


def random_regular(peers: int, degree: int, generator: np.random.Generator) -> Neighbours:
    """Return a random graph of that degree, by pairing ends and switching what does not fit (McKay & Wormald 1990).

    Of more than half of all links those are drawn that are left out: in a graph that is nearly full no switch would fit.
    """
    if degree >= peers or peers * degree % 2:
        raise SettingsError(
            f"{peers} peers of {degree} links each make no graph; one of the two numbers is even, and links are fewer."
        )
    if 2 * degree >= peers:
        missing = random_regular(peers, peers - 1 - degree, generator)
        return [[other for other in row if other not in missing[peer]] for peer, row in enumerate(complete(peers))]
    ends = generator.permutation(np.repeat(np.arange(peers), degree))
    pairs = [(int(one), int(other)) for one, other in zip(ends[0::2], ends[1::2], strict=True)]
    seen: dict[tuple[int, int], int] = {}

    def key(pair: tuple[int, int]) -> tuple[int, int]:
        return (pair[0], pair[1]) if pair[0] < pair[1] else (pair[1], pair[0])

    for pair in pairs:
        seen[key(pair)] = seen.get(key(pair), 0) + 1
    wrong = [index for index, pair in enumerate(pairs) if pair[0] == pair[1] or seen[key(pair)] > 1]
    for _ in range(SWITCHES_MAX):
        wrong = [index for index in wrong if pairs[index][0] == pairs[index][1] or seen[key(pairs[index])] > 1]
        if not wrong:
            return _from_edges(peers, {key(pair) for pair in pairs})
        index, other = wrong[0], int(generator.integers(len(pairs)))
        (a, b), (c, d) = pairs[index], pairs[other]
        fresh = (a, d), (c, b)
        if index == other or a == d or c == b or key(fresh[0]) == key(fresh[1]) or any(seen.get(key(pair)) for pair in fresh):
            continue
        for pair in ((a, b), (c, d)):
            seen[key(pair)] -= 1
        for pair in fresh:
            seen[key(pair)] = seen.get(key(pair), 0) + 1
        pairs[index], pairs[other] = fresh
    raise SettingsError(f"No graph of {peers} peers with {degree} links each was found.")


def random_geometric(peers: int, generator: np.random.Generator) -> Neighbours:
    """Return peers at random places of the unit square, linked within sqrt(2 log n / n), where the graph is connected."""
    radius = math.sqrt(2.0 * math.log(max(peers, 2)) / peers)
    for _ in range(100):
        places = generator.random((peers, 2))
        near = ((places[:, None] - places[None]) ** 2).sum(axis=2) <= radius * radius
        edges = {(int(one), int(other)) for one, other in np.argwhere(near) if one < other}
        neighbours = _from_edges(peers, edges)
        if _connected(neighbours):
            return neighbours
    raise SettingsError(f"No connected geometric graph of {peers} peers was found.")


def _connected(neighbours: Neighbours) -> bool:
    seen, todo = {0}, [0]
    while todo:
        for other in neighbours[todo.pop()]:
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return len(seen) == len(neighbours)


def expected_averaging_matrix(neighbours: Neighbours) -> NDArray[np.float64]:
    """Return E[W] of one tick: a uniformly random peer averages with a uniformly random neighbour; float64 [n, n]."""
    n = len(neighbours)
    matrix = np.eye(n)
    for peer, row in enumerate(neighbours):
        for other in row:
            share = 0.5 / (n * len(row))
            matrix[peer, peer] -= share
            matrix[other, other] -= share
            matrix[peer, other] += share
            matrix[other, peer] += share
    return matrix


def second_eigenvalue(matrix: NDArray[np.float64]) -> float:
    """Return the second largest eigenvalue of a symmetric matrix."""
    return float(np.linalg.eigvalsh(matrix)[-2])


def averaging_ticks_bounds(eigenvalue: float, epsilon: float) -> tuple[float, float]:
    """Return the bounds of Boyd et al. (2006, theorem 3) on the ticks until the relative error exceeds epsilon with probability
    of at most epsilon: 0.5 log(1/epsilon) / log(1/lambda2) and 3 log(1/epsilon) / log(1/lambda2).
    """
    rate = math.log(1.0 / epsilon) / math.log(1.0 / eigenvalue)
    return 0.5 * rate, 3.0 * rate
