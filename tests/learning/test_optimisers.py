"""Optimisers: the textbook's numbers, in place, without allocating."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from meshlearn.learning.optimisers import CHUNK, make_optimiser

SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "learning_rate": 0.1},
    "momentum": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    "adam": {"name": "adam", "learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6},
}
LENGTH = CHUNK + 3  # so that the last chunk is a short one


def reference_changes(settings: dict[str, Any], gradients: list[np.ndarray]) -> list[np.ndarray]:
    """The formulas of the papers in float64."""
    changes = []
    rate = settings["learning_rate"]
    first = second = np.zeros(gradients[0].shape)
    for step, gradient in enumerate((g.astype(np.float64) for g in gradients), start=1):
        if settings["name"] == "sgd":
            first = settings.get("momentum", 0.0) * first + gradient
            changes.append(-rate * first)
        else:
            beta1, beta2 = settings["beta1"], settings["beta2"]
            first = beta1 * first + (1 - beta1) * gradient
            second = beta2 * second + (1 - beta2) * gradient**2
            mean, square = first / (1 - beta1**step), second / (1 - beta2**step)
            changes.append(-rate * mean / (np.sqrt(square) + settings["epsilon"]))
    return changes


def some_gradients(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.normal(0, 1, LENGTH).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("in_place", [False, True])
def test_changes_are_those_of_the_papers(name: str, in_place: bool) -> None:
    optimiser = make_optimiser(SETTINGS[name], LENGTH)
    gradients = some_gradients(8)
    for gradient, expected in zip(gradients, reference_changes(SETTINGS[name], gradients), strict=True):
        out = gradient if in_place else np.full(LENGTH, np.nan, np.float32)
        kept = gradient.copy()
        optimiser.change(gradient, out)
        assert np.allclose(out, expected, rtol=2e-5, atol=1e-7)
        assert in_place or np.array_equal(gradient, kept)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_change_allocates_nothing(name: str) -> None:
    n = 1_000_000
    optimiser = make_optimiser(SETTINGS[name], n)
    gradient, out = np.ones(n, np.float32), np.empty(n, np.float32)
    optimiser.change(gradient, out)
    tracemalloc.start()
    try:
        optimiser.change(gradient, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024


def test_the_effective_learning_rate_is_what_a_steady_gradient_moves() -> None:
    assert make_optimiser(SETTINGS["sgd"], 1).learning_rate == 0.1
    assert make_optimiser(SETTINGS["adam"], 1).learning_rate == 0.01
    momentum = make_optimiser(SETTINGS["momentum"], 1)
    assert momentum.learning_rate == pytest.approx(1.0)
    gradient, out = np.ones(1, np.float32), np.empty(1, np.float32)
    for _ in range(300):
        momentum.change(gradient, out)
    assert -out[0] == pytest.approx(momentum.learning_rate, rel=1e-5)


def test_adam_has_the_defaults_of_its_paper() -> None:
    assert make_optimiser({"name": "adam"}, 1).learning_rate == 1e-3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, 'The optimiser must have the "name" sgd or adam, but it has null.'),
        ({"name": "lion"}, 'The optimiser must have the "name" sgd or adam, but it has "lion".'),
        ({"name": "sgd"}, 'The optimiser sgd needs "learning_rate".'),
        (
            {"name": "sgd", "learning_rate": 0.1, "nesterov": True},
            'The optimiser sgd has an unknown key "nesterov"; it may have name, learning_rate, momentum.',
        ),
        (
            {"name": "sgd", "learning_rate": 0},
            'The optimiser\'s "learning_rate" must be a number from 1e-12 to 1000, but it is 0.',
        ),
        (
            {"name": "sgd", "learning_rate": float("nan")},
            'The optimiser\'s "learning_rate" must be a number from 1e-12 to 1000, but it is NaN.',
        ),
        (
            {"name": "sgd", "learning_rate": True},
            'The optimiser\'s "learning_rate" must be a number from 1e-12 to 1000, but it is true.',
        ),
        ({"name": "sgd", "learning_rate": 0.1, "momentum": 1}, 'The optimiser\'s "momentum" must be less than 1.'),
        ({"name": "adam", "beta1": -0.1}, 'The optimiser\'s "beta1" must be a number from 0 to 1, but it is -0.1.'),
        ({"name": "adam", "epsilon": 0}, 'The optimiser\'s "epsilon" must be a number from 1e-30 to 1, but it is 0.'),
    ],
)
def test_each_mistake_has_its_sentence(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make_optimiser(settings, 1)
    assert str(refused.value) == told
