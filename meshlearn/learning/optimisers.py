"""Optimisers: a gradient in, the change to add to the parameter vector out.

The change is not applied here: the caller adds it under its own lock, to a vector that exchanges with other
peers may have moved meanwhile. An optimiser's state belongs to one peer and is never exchanged. The work
goes through the vector in chunks that stay in the cache, over scratch made once: nothing is allocated in a
step.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from meshlearn.errors import SettingsError
from meshlearn.learning import strict_json
from meshlearn.learning.spec import Vector

CHUNK = 16_384  # values; the six arrays of Adam then take 384 KiB of second-level cache


class Optimiser(Protocol):
    """Turns gradients into changes."""

    @property
    def learning_rate(self) -> float:
        """How far one unit of a steady gradient moves the vector in the long run, a step."""
        ...

    def change(self, gradient: Vector, out: Vector) -> None:
        """Write into ``out`` the change to add for ``gradient``; both float32 ``[n]``, and they may be one array."""
        ...


class Sgd:
    """Stochastic gradient descent, with heavy-ball momentum where ``momentum`` is over 0 (Polyak 1964).

    ``velocity = momentum * velocity + gradient; change = -learning_rate * velocity``. Its effective
    learning rate is ``learning_rate / (1 - momentum)``, the sum of what one gradient moves over all steps
    to come.
    """

    def __init__(self, n: int, learning_rate: float, momentum: float = 0.0) -> None:
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._velocity = np.zeros(n, np.float32) if momentum else None

    @property
    def learning_rate(self) -> float:
        """``learning_rate / (1 - momentum)``."""
        return self._learning_rate / (1 - self._momentum)

    def change(self, gradient: Vector, out: Vector) -> None:
        """See :class:`Optimiser`."""
        if self._velocity is None:
            np.multiply(gradient, -self._learning_rate, out=out)
            return
        for start in range(0, len(gradient), CHUNK):
            part = slice(start, start + CHUNK)
            velocity = self._velocity[part]
            np.multiply(velocity, self._momentum, out=velocity)
            np.add(velocity, gradient[part], out=velocity)
            np.multiply(velocity, -self._learning_rate, out=out[part])


class Adam:
    """Adam with its bias corrections (Kingma & Ba 2015, algorithm 1)."""

    def __init__(
        self, n: int, learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        self._learning_rate = learning_rate
        self._beta1, self._beta2, self._epsilon = beta1, beta2, epsilon
        self._steps = 0
        self._mean = np.zeros(n, np.float32)
        self._square = np.zeros(n, np.float32)
        self._scratch = np.empty(min(n, CHUNK), np.float32)

    @property
    def learning_rate(self) -> float:
        """As it was set: Adam's steps are about that long whatever the gradient's size."""
        return self._learning_rate

    def change(self, gradient: Vector, out: Vector) -> None:
        """See :class:`Optimiser`."""
        self._steps += 1
        rate = self._learning_rate / (1 - self._beta1**self._steps)
        unbias = 1 / math.sqrt(1 - self._beta2**self._steps)
        for start in range(0, len(gradient), CHUNK):
            part = slice(start, start + CHUNK)
            g, mean, square = gradient[part], self._mean[part], self._square[part]
            scratch = self._scratch[: len(g)]
            np.multiply(g, g, out=scratch)
            np.multiply(scratch, 1 - self._beta2, out=scratch)
            np.multiply(square, self._beta2, out=square)
            np.add(square, scratch, out=square)
            np.multiply(g, 1 - self._beta1, out=scratch)
            np.multiply(mean, self._beta1, out=mean)
            np.add(mean, scratch, out=mean)
            np.sqrt(square, out=scratch)
            np.multiply(scratch, unbias, out=scratch)
            np.add(scratch, self._epsilon, out=scratch)
            np.divide(mean, scratch, out=scratch)
            np.multiply(scratch, -rate, out=out[part])


def make_optimiser(settings: dict[str, Any], n: int) -> Optimiser:
    """The optimiser that a run's settings describe, for vectors of ``n`` values.

    ``{"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}`` (momentum 0 where it is left out) or
    ``{"name": "adam", "learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}`` (each of
    which may be left out). Raises :class:`~meshlearn.errors.SettingsError`.
    """
    what = "The optimiser"
    settings = strict_json.read_object(settings, what, SettingsError)
    name = settings.get("name")
    if name == "sgd":
        strict_json.only_keys(settings, ("name", "learning_rate", "momentum"), ("learning_rate",), f"{what} sgd", SettingsError)
        return Sgd(n, _rate(settings, 0.0), _share(settings, "momentum", 0.0))
    if name == "adam":
        keys = ("name", "learning_rate", "beta1", "beta2", "epsilon")
        strict_json.only_keys(settings, keys, (), f"{what} adam", SettingsError)
        epsilon = strict_json.number(settings.get("epsilon", 1e-8), 1e-30, 1.0, f'{what}\'s "epsilon"', SettingsError)
        rate = _rate(settings, 1e-3)
        return Adam(n, rate, _share(settings, "beta1", 0.9), _share(settings, "beta2", 0.999), epsilon)
    raise SettingsError(f'{what} must have the "name" sgd or adam, but it has {strict_json.shown(name)}.')


def _rate(settings: dict[str, Any], default: float) -> float:
    what = 'The optimiser\'s "learning_rate"'
    return strict_json.number(settings.get("learning_rate", default), 1e-12, 1e3, what, SettingsError)


def _share(settings: dict[str, Any], key: str, default: float) -> float:
    value = strict_json.number(settings.get(key, default), 0.0, 1.0, f'The optimiser\'s "{key}"', SettingsError)
    if value == 1.0:
        raise SettingsError(f'The optimiser\'s "{key}" must be less than 1.')
    return value
