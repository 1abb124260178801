"""Synchronous all-reduce of float32 gradients over a ring of TCP sockets: what a mesh without gossip would do.

Run as `python -m tests.bench.allreduce RANK RANKS PORT GOAL STEPS_MAX BATCH SEED`: process RANK listens on PORT + RANK, and
connects to the next. Rank 0 prints one JSON line at its end. Reduce-scatter and all-gather as in Patarasuk & Yuan (2009):
each process sends 2 (n - 1) / n of the vector a step.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading
import time

import numpy as np

from meshlearn.learning.datasets import digits
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.partition import partition
from meshlearn.learning.spec import ModelSpec, initial_vector
from meshlearn.learning.trainer import Trainer
from meshlearn.new_run import default_model

EVALUATE_EVERY = 10
OPTIMISER = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}


def connect(rank: int, ranks: int, port: int) -> tuple[socket.socket, socket.socket]:
    """Return the sockets to the next and from the previous process of the ring."""
    server = socket.create_server(("127.0.0.1", port + rank))
    deadline = time.monotonic() + 30
    while True:
        try:
            following = socket.create_connection(("127.0.0.1", port + (rank + 1) % ranks), timeout=30)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    previous, _ = server.accept()
    server.close()
    for link in (following, previous):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return following, previous


class Ring:
    """All-reduce over the two sockets; counts what this process sends."""

    def __init__(self, rank: int, ranks: int, following: socket.socket, previous: socket.socket) -> None:
        self.rank, self.ranks, self.bytes_out = rank, ranks, 0
        self._following, self._previous = following, previous

    def _swap(self, out: np.ndarray, into: np.ndarray) -> None:
        sender = threading.Thread(target=self._following.sendall, args=(memoryview(out).cast("B"),))
        sender.start()
        view = memoryview(into).cast("B")
        while view:
            view = view[self._previous.recv_into(view) :]
        sender.join()
        self.bytes_out += out.nbytes

    def mean(self, vector: np.ndarray) -> None:
        """Replace the vector by its mean over the ring."""
        edges = np.linspace(0, len(vector), self.ranks + 1).astype(int)
        parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]
        for step in range(self.ranks - 1):
            out, into = parts[(self.rank - step) % self.ranks], parts[(self.rank - step - 1) % self.ranks]
            part = np.empty(into.stop - into.start, np.float32)
            self._swap(vector[out], part)
            vector[into] += part
        for step in range(self.ranks - 1):
            out, into = parts[(self.rank + 1 - step) % self.ranks], parts[(self.rank - step) % self.ranks]
            self._swap(vector[out], vector[into])
        vector *= np.float32(1 / self.ranks)


def main() -> None:
    """Train until rank 0 has reached the goal."""
    rank, ranks, port = (int(argument) for argument in sys.argv[1:4])
    goal, steps_max, batch, seed = float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), int(sys.argv[7])
    train, test = digits()
    spec = ModelSpec.from_json(default_model(train.input_shape, train.classes))
    vector = initial_vector(spec, seed)
    n = spec.parameter_count
    engine = NumpyEngine(spec, max(256, batch))
    optimiser = make_optimiser(OPTIMISER, n)
    trainer = Trainer(
        engine, optimiser, train.subset(partition(train.labels, ranks, "even", seed)[rank]), batch, 1_000 * seed + rank
    )
    ring = Ring(rank, ranks, *connect(rank, ranks, port))
    gradient, change, flag = np.empty(n, np.float32), np.empty(n, np.float32), np.zeros(ranks, np.float32)
    seconds, accuracy = 0.0, 0.0
    ring.mean(flag)  # everybody is there
    while trainer.steps < steps_max:
        begun = time.perf_counter()
        trainer.gradient(vector, gradient)
        ring.mean(gradient)
        optimiser.change(gradient, change)
        vector += change
        seconds += time.perf_counter() - begun
        if trainer.steps % EVALUATE_EVERY == 0:
            sent = ring.bytes_out
            flag[:] = 0
            if rank == 0:
                accuracy = engine.evaluate(vector, test).accuracy
                flag[:] = accuracy >= goal
            ring.mean(flag)
            ring.bytes_out = sent
            if flag[0] > 0:
                break
    if rank == 0:
        fields = {"seconds": seconds, "steps": trainer.steps, "bytes": ring.bytes_out * ranks, "accuracy": accuracy}
        print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
