"""numpy's engine on one core, step by step, for whoever takes turns with it: `python -m tests.bench.numpy_steps`.

It reads one word a line, a model such as 784-64-10 or "round", and answers each with a line: the milliseconds a step took of the
processor in that round, or 0 for a model that is ready. The process is one of its own because numpy counts its threads when
it is loaded.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import ModelSpec, initial_vector

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
BATCH_SIZE = 64
LEARNING_RATE = 0.005
WARM_UP_STEPS = 20
ROUND_S = 0.1


class Steps:
    """One model and one batch of random inputs."""

    def __init__(self, model: str) -> None:
        inputs, *hidden, classes = map(int, model.split("-"))
        layers = [{"layer": "Dense", "units": units, "activation": "relu"} for units in hidden]
        document = {"format": 1, "input": [inputs], "layers": [*layers, {"layer": "Dense", "units": classes}]}
        spec = ModelSpec.from_json(document)
        generator = np.random.Generator(np.random.PCG64(1))
        self._inputs = generator.random((BATCH_SIZE, inputs), dtype=np.float32)
        self._labels = generator.integers(0, classes, BATCH_SIZE)
        self._engine = NumpyEngine(spec, BATCH_SIZE)
        self._vector = initial_vector(spec, 1)
        self._gradient = np.empty_like(self._vector)
        self._optimiser = make_optimiser({"name": "sgd", "learning_rate": LEARNING_RATE}, len(self._vector))
        for _ in range(WARM_UP_STEPS):
            self._step()

    def _step(self) -> None:
        self._engine.loss_and_gradient(self._vector, self._inputs, self._labels, self._gradient)
        self._optimiser.change(self._gradient, self._gradient)
        np.add(self._vector, self._gradient, out=self._vector)

    def round(self) -> float:
        """Milliseconds of processor time a step."""
        steps, start = 0, time.thread_time()
        while (elapsed := time.thread_time() - start) < ROUND_S or not steps:
            self._step()
            steps += 1
        return 1e3 * elapsed / steps


def main() -> None:
    """Answer until the input ends."""
    steps = None
    for line in sys.stdin:
        word = line.strip()
        if word != "round":
            steps = Steps(word)
        print(steps.round() if word == "round" and steps is not None else 0.0, flush=True)


if __name__ == "__main__":
    main()
