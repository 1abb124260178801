"""Engines by name, and the sentence where one cannot be had."""

from __future__ import annotations

import sys

import pytest

from meshlearn.errors import SettingsError
from meshlearn.learning.engine import Engine
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.engines import make_engine
from tests.learning.models import PERCEPTRON, model


def test_engines_are_made_by_name() -> None:
    engine = make_engine("numpy", PERCEPTRON, 4, scale=1.0)
    assert isinstance(engine, NumpyEngine)
    assert isinstance(engine, Engine)
    assert engine.scale == 1.0
    for name in ("jax", "numpy:cuda", ""):
        with pytest.raises(SettingsError, match=f'There is no engine "{name}"; choose numpy, torch, torch:DEVICE.'):
            make_engine(name, PERCEPTRON, 4)
    wide = model({"layer": "Flatten"}, {"layer": "Dense", "units": 2}, shape=(4_096, 4_096))
    with pytest.raises(SettingsError, match=r"A batch of 64 takes 2147483776 values .*; use a smaller batch"):
        make_engine("numpy", wide, 64)
    for size in (0, 65_537):
        with pytest.raises(SettingsError, match=f"batch size must be from 1 to 65536, but it is {size}"):
            make_engine("numpy", PERCEPTRON, size)


def test_without_torch_the_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SettingsError, match=r"needs PyTorch; install it with: pip install meshlearn\[torch\]"):
        make_engine("torch", PERCEPTRON, 4)
