"""Write tests/vectors/engine.json: small models trained for 20 steps by a float64 reference.

Every engine, in every language, is held to these numbers: the vector after the last step, the losses and the
probabilities, to 1e-6. The reference is written here once more, plainly and in float64, so that it shares no code with
what it judges. Run it from the root of the project: ``python tools/make_engine_vectors.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float64 throughout

TARGET = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "engine.json"
STEPS = 20
TOLERANCE = 1e-6
SCALE = 255.0
KINK_MARGIN = 2e-5  # no input of a relu comes closer to 0 than this, so that float32 is on the same side of it

SGD = {"name": "sgd", "learning_rate": 0.2}
MOMENTUM = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}
ADAM = {"name": "adam", "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 0.001}
FLATTEN = {"layer": "Flatten"}


def dense(units: int, activation: str | None = None) -> dict[str, Any]:
    """A dense layer of a specification."""
    return {"layer": "Dense", "units": units} | ({"activation": activation} if activation else {})


def act(activation: str) -> dict[str, Any]:
    """An activation layer of a specification."""
    return {"layer": "Activation", "activation": activation}


def cases() -> list[dict[str, Any]]:
    """What is tried, and why."""
    listed: list[dict[str, Any]] = []
    for activation in ("linear", "relu", "tanh", "sigmoid"):
        for name, optimiser in (("sgd", SGD), ("momentum", MOMENTUM), ("adam", ADAM)):
            listed.append(
                {
                    "name": f"{activation}-{name}",
                    "why": "each activation with each optimiser; 5 and 3 units are no multiple of a SIMD register",
                    "input": [3, 2, 1],
                    "layers": [FLATTEN, dense(5, activation), dense(3)],
                    "optimiser": optimiser,
                    "batch_size": 6,
                }
            )
    listed += [
        {
            "name": "float32-inputs",
            "why": "inputs that are float32 already are not divided by the scale",
            "input": [7],
            "dtype": "float32",
            "layers": [dense(9, "tanh"), dense(4)],
            "optimiser": MOMENTUM,
            "batch_size": 5,
        },
        {
            "name": "deep",
            "why": "gradients pass through four layers, and through activations that are layers of their own",
            "input": [2, 2, 2],
            "layers": [
                FLATTEN, dense(12, "tanh"), act("relu"), dense(8), act("sigmoid"), act("tanh"), dense(6, "relu"), dense(5),
            ],
            "optimiser": SGD | {"learning_rate": 1.0},
            "batch_size": 9,
        },
        {
            "name": "activation-first",
            "why": "an activation before the first parameters takes part forward and is skipped backward",
            "input": [4, 1, 1],
            "layers": [act("sigmoid"), FLATTEN, dense(4, "relu"), dense(2)],
            "optimiser": ADAM,
            "batch_size": 4,
        },
        {
            "name": "activation-last",
            "why": "logits that have passed an activation need its output for the backward pass",
            "input": [5],
            "dtype": "float32",
            "layers": [dense(6, "sigmoid"), dense(3, "tanh")],
            "optimiser": SGD,
            "batch_size": 3,
        },
        {
            "name": "one-example",
            "why": "a batch of one",
            "input": [6],
            "layers": [dense(4, "tanh"), dense(3)],
            "optimiser": SGD,
            "batch_size": 1,
        },
        {
            "name": "wide",
            "why": "inputs, units and batch cross the blocks of a packed matrix product (256, 8 and 4) with a remainder",
            "input": [17, 18, 1],
            "layers": [FLATTEN, dense(9, "relu"), dense(10)],
            "optimiser": SGD | {"learning_rate": 0.05},
            "batch_size": 11,
        },
        {
            "name": "large-batch",
            "why": "the batch is the inner dimension of the weights' gradient and crosses a block of 256 too",
            "input": [3],
            "layers": [dense(4, "sigmoid"), dense(2)],
            "optimiser": SGD | {"learning_rate": 1.0},
            "batch_size": 261,
        },
    ]  # fmt: skip
    return listed


class Reference:
    """Forward, backward and update in float64, a line for each formula."""

    def __init__(self, case: dict[str, Any], initial: NDArray[np.float32]) -> None:
        self.layers, self.optimiser = case["layers"], case["optimiser"]
        self.vector = initial.astype(np.float64)
        self.first_state = np.zeros_like(self.vector)
        self.second_state = np.zeros_like(self.vector)
        self.steps = 0
        self.kink = float(np.inf)

    def activate(self, x: Array, activation: str) -> Array:
        """The activation, noting how near a relu came to its kink."""
        if activation == "relu":
            nonzero = np.abs(x[x != 0])
            self.kink = min(self.kink, float(nonzero.min(initial=np.inf)))
            return np.maximum(x, 0)
        return {"linear": x, "tanh": np.tanh(x), "sigmoid": 1 / (1 + np.exp(-x))}[activation]

    @staticmethod
    def slope(y: Array, activation: str) -> Array:
        """The activation's derivative, given its output."""
        slopes: dict[str, Array] = {
            "linear": np.ones_like(y),
            "relu": (y > 0) * 1.0,
            "tanh": 1 - y * y,
            "sigmoid": y * (1 - y),
        }
        return slopes[activation]

    def forward(self, inputs: Array) -> list[Array]:
        """The input of each layer and, last, the logits."""
        offset = 0
        values = [inputs]
        for layer in self.layers:
            x = values[-1]
            if layer["layer"] == "Flatten":
                values.append(x.reshape(len(x), -1))
            elif layer["layer"] == "Activation":
                values.append(self.activate(x, layer["activation"]))
            else:
                size = x.shape[1] * layer["units"]
                weight = self.vector[offset : offset + size].reshape(x.shape[1], layer["units"])
                bias = self.vector[offset + size : offset + size + layer["units"]]
                offset += size + layer["units"]
                values.append(self.activate(x @ weight + bias, layer.get("activation", "linear")))
        return values

    @staticmethod
    def softmax(logits: Array) -> Array:
        """Probabilities."""
        e: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
        e /= e.sum(axis=1, keepdims=True)
        return e

    def loss_and_gradient(self, inputs: Array, labels: NDArray[np.int64]) -> tuple[float, int, Array]:
        """Mean loss, right guesses, and the gradient."""
        values = self.forward(inputs)
        probabilities = self.softmax(values[-1])
        rows = np.arange(len(labels))
        loss = -np.log(probabilities[rows, labels]).mean()
        correct = int((values[-1].argmax(axis=1) == labels).sum())
        d = probabilities.copy()
        d[rows, labels] -= 1
        d /= len(labels)
        gradient = np.zeros_like(self.vector)
        end = len(gradient)
        for layer, x, y in reversed(list(zip(self.layers, values[:-1], values[1:], strict=True))):
            if layer["layer"] == "Flatten":
                d = d.reshape(x.shape)
                continue
            d = d * self.slope(y, layer.get("activation", "linear"))
            if layer["layer"] == "Dense":
                units = layer["units"]
                weight_end = end - units
                start = weight_end - x.shape[1] * units
                gradient[weight_end:end] = d.sum(axis=0)
                gradient[start:weight_end] = (x.T @ d).reshape(-1)
                d = d @ self.vector[start:weight_end].reshape(-1, units).T
                end = start
        return float(loss), correct, gradient

    def update(self, gradient: Array) -> None:
        """One step of the optimiser."""
        settings = self.optimiser
        rate = settings["learning_rate"]
        self.steps += 1
        if settings["name"] == "sgd":
            self.first_state = settings.get("momentum", 0.0) * self.first_state + gradient
            self.vector -= rate * self.first_state
            return
        beta1, beta2 = settings["beta1"], settings["beta2"]
        self.first_state = beta1 * self.first_state + (1 - beta1) * gradient
        self.second_state = beta2 * self.second_state + (1 - beta2) * gradient**2
        mean = self.first_state / (1 - beta1**self.steps)
        square = self.second_state / (1 - beta2**self.steps)
        self.vector -= rate * mean / (np.sqrt(square) + settings["epsilon"])


def parameter_count(case: dict[str, Any]) -> int:
    """The length of the vector."""
    width, count = int(np.prod(case["input"])), 0
    for layer in case["layers"]:
        if layer["layer"] == "Dense":
            count += (width + 1) * layer["units"]
            width = layer["units"]
    return count


def exact(values: NDArray[np.float32]) -> list[float]:
    """Short decimals that are these float32 values once they are read as float32."""
    return [float(str(value)) for value in values.reshape(-1)]


def shortened(values: Array) -> list[float]:
    """Float64 to 12 digits: a millionth of the tolerance."""
    return [float(f"{value:.12g}") for value in values.reshape(-1)]


def computed(case: dict[str, Any], seed: int) -> dict[str, Any] | None:
    """The case with its numbers; None where a relu came too near to its kink for float32 to be sure."""
    generator = np.random.Generator(np.random.PCG64(seed))
    n, batch_size = parameter_count(case), case["batch_size"]
    classes = case["layers"][-1]["units"]
    initial = generator.uniform(-0.5, 0.5, n).astype(np.float32)
    examples = max(2 * batch_size, 12)
    shape = (examples, *case["input"])
    if case.get("dtype") == "float32":
        stored: NDArray[Any] = generator.normal(size=shape).astype(np.float32)
        values: list[Any] = exact(stored)
        inputs = stored.astype(np.float64)
    else:
        stored = generator.integers(0, 256, shape)
        values = stored.reshape(-1).tolist()
        inputs = stored / SCALE
    labels = generator.integers(0, classes, examples)
    batches = [generator.permutation(examples)[:batch_size] for _ in range(STEPS)]
    reference = Reference(case, initial)
    _, _, first_gradient = reference.loss_and_gradient(inputs[batches[0]], labels[batches[0]])
    losses, corrects = [], []
    for chosen in batches:
        loss, correct, gradient = reference.loss_and_gradient(inputs[chosen], labels[chosen])
        losses.append(loss)
        corrects.append(correct)
        reference.update(gradient)
    probabilities = reference.softmax(reference.forward(inputs)[-1])
    if reference.kink < KINK_MARGIN:
        return None
    return {
        "name": case["name"],
        "why": case["why"],
        "spec": {"format": 1, "input": case["input"], "layers": case["layers"], "loss": "softmax_cross_entropy"},
        "optimiser": case["optimiser"],
        "initial": exact(initial),
        "inputs": {"dtype": case.get("dtype", "uint8"), "values": values},
        "labels": labels.tolist(),
        "batches": [chosen.tolist() for chosen in batches],
        "losses": shortened(np.array(losses)),
        "correct": corrects,
        "first_gradient": shortened(first_gradient),
        "final": shortened(reference.vector),
        "probabilities": shortened(probabilities),
    }


def main() -> None:
    """Write the file."""
    results = []
    for index, case in enumerate(cases()):
        seeds = (1000 * (index + 1) + attempt for attempt in range(1000))
        results.append(next(result for seed in seeds if (result := computed(case, seed))))
    document = {
        "format": 1,
        "about": "Models trained by a float64 reference (tools/make_engine_vectors.py). 'batches' are indices into the "
        "examples, one list a step; uint8 inputs are divided by 'scale'. Each engine must reach 'final' with "
        "||x - final|| <= tolerance * ||final||, and losses, first gradient and probabilities alike.",
        "tolerance": TOLERANCE,
        "scale": SCALE,
        "cases": results,
    }
    lines = json.dumps(document, separators=(",", ":")).replace('{"name"', '\n{"name"')
    TARGET.write_text(lines + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {len(results)} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
