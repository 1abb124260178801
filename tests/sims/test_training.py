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


@pytest.mark.parametrize("model", ["softmax", "mlp-12", "mlp-33-8", "deep"])
def test_many_models_are_judged_in_one_call_as_the_engine_judges_each(model: str):
    spec = DEEP if model == "deep" else model_spec(model, TRAIN.input_shape, TRAIN.classes)
    vectors = np.stack([initial_vector(spec, seed) for seed in range(9)])
    vectors += np.random.default_rng(1).normal(0, 0.1, vectors.shape).astype(np.float32)
    found = BatchedEngine(spec, len(TRAIN)).correct(vectors, TRAIN.inputs.astype(np.float32), TRAIN.labels)
    engine = NumpyEngine(spec, 64, TRAIN.scale)
    expected = [round(engine.evaluate(vector, TRAIN).accuracy * len(TRAIN)) for vector in vectors]
    np.testing.assert_allclose(found, expected, atol=1)
    assert len(set(found.tolist())) > 1


def test_in_the_end_every_peer_is_judged_and_until_then_a_sample():
    """Five of six honest peers are ready; each row says of how many its worst one is the worst."""
    world = ran(small(peers=6, hostile=[{"attack": "replay", "share": 0.17}], **{"evaluation.peers": 2}))
    assert [row["peers_evaluated"] for row in world.series] == [2, 2, 2, 5]
    table = {row["peer"]: row["accuracy"] for row in world.peers_table()}
    assert world._judge is not None
    assert world.task.test is not None
    honest = [node.number for node in world.nodes if not node.attack]
    own = [world._judge.evaluate(world.vectors[number], world.task.test).accuracy for number in honest]
    assert [table[number] for number in honest] == pytest.approx(own, abs=0.011)
    last = world.series[-1]
    judged = [value for value in table.values() if not np.isnan(value)]
    assert (last["accuracy_worst"], last["accuracy_best"]) == (min(judged), max(judged))
    assert last["accuracy_median"] == np.median(judged)


def test_bytes_are_scaled_before_they_are_judged():
    world = ran(small(duration_s=5.0, **{"run.data": "digits-8x8"}))
    assert world._judge is not None
    assert world.task.test is not None
    own = [world._judge.evaluate(world.vectors[number], world.task.test).accuracy for number in range(6)]
    assert [row["accuracy"] for row in world.peers_table()] == pytest.approx(own, abs=0.011)


def test_who_cannot_be_judged_in_time_is_left_out_and_the_row_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sims.world.MULTIPLICATIONS_MAX", 4 * 100 * 68)
    world = ran(small(peers=6, **{"evaluation.peers": 2}))
    assert [row["peers_evaluated"] for row in world.series] == [2, 2, 2, 4]
    assert sum(not np.isnan(row["accuracy"]) for row in world.peers_table()) == 4
