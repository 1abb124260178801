"""Many small models in one call give what each gives alone, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import ModelSpec, initial_vector
from meshlearn.learning.trainer import Trainer
from sims.kernels import BatchedEngine
from sims.tasks import blobs, model_spec
from sims.training import Batches
from tests.sims.worlds import ran, small

TRAIN, _ = blobs()
DEEP = ModelSpec.from_json(
    {
        "format": 1,
        "input": [16],
        "layers": [
            {"layer": "Dense", "units": 9, "activation": "tanh"},
            {"layer": "Dense", "units": 7},
            {"layer": "Activation", "activation": "sigmoid"},
            {"layer": "Dense", "units": 4},
        ],
    }
)


@pytest.mark.parametrize("batch", [1, 5, 32])
@pytest.mark.parametrize("model", ["softmax", "mlp-12", "mlp-33-8", "deep"])
def test_batched_gradients_are_those_of_the_engine_to_the_bit(model: str, batch: int):
    spec = DEEP if model == "deep" else model_spec(model, TRAIN.input_shape, TRAIN.classes)
    generator = np.random.default_rng(batch)
    vectors = np.stack([initial_vector(spec, seed) for seed in range(9)])
    vectors += generator.normal(0, 0.1, vectors.shape).astype(np.float32)
    chosen = generator.integers(0, len(TRAIN), (9, batch))
    out = vectors.copy()
    BatchedEngine(spec, batch).gradients(out, TRAIN.inputs[chosen], TRAIN.labels[chosen], out)
    alone = np.empty(spec.parameter_count, np.float32)
    for row in range(9):
        NumpyEngine(spec, batch).loss_and_gradient(vectors[row], TRAIN.inputs[chosen[row]], TRAIN.labels[chosen[row]], alone)
        np.testing.assert_array_equal(out[row], alone)


def test_batches_are_those_that_a_trainer_draws():
    spec = model_spec("softmax", TRAIN.input_shape, TRAIN.classes)
    holding = np.arange(100, 137)
    optimiser = make_optimiser({"name": "sgd", "learning_rate": 0.1}, spec.parameter_count)
    trainer = Trainer(NumpyEngine(spec, 8), optimiser, TRAIN.subset(holding), 8, seed=5)
    batches = Batches(holding, 8, seed=5)
    out = np.empty(8, np.int64)
    for _ in range(12):
        batches.draw(out)
        np.testing.assert_array_equal(TRAIN.inputs[out], trainer.draw().inputs)


@pytest.mark.parametrize("optimiser", [{"name": "sgd", "learning_rate": 0.1}, {"name": "adam"}])
def test_a_world_that_computes_together_is_the_same_as_one_that_computes_one_by_one(optimiser: dict[str, object]):
    scenario = small(**{"run.optimiser": optimiser, "run.data": "digits-8x8", "run.examples_per_peer": 40})
    together, alone = ran(scenario), ran(scenario, batched=False)
    assert together.trace.hexdigest() == alone.trace.hexdigest()
    np.testing.assert_array_equal(together.vectors, alone.vectors)
    assert together.series == alone.series
