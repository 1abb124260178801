"""Each benchmark runs, in its short form, and gives figures; how good they are is not the business of a test."""

from __future__ import annotations

import importlib
import math

import pytest

from tests.bench.__main__ import benchmark_names
from tests.bench.figures import Figure

# The goodput's short form is looked at more closely in tests/runtime/test_bench.py.
NAMES = [name for name in benchmark_names() if name != "goodput"]


@pytest.mark.parametrize("name", NAMES)
def test_the_short_form_of_a_benchmark_gives_figures(name: str):
    # That of the browser is skipped where there is no Chromium.
    figures: list[Figure] = importlib.import_module(f"tests.bench.bench_{name}").run(short=True)
    assert figures
    assert all(math.isfinite(figure.value) for figure in figures)
    # How far two things are apart may be nothing at all.
    assert all(figure.value > 0 or (figure.better == "lower" and figure.value == 0) for figure in figures)


def test_the_simulator_and_its_prediction_have_benchmarks():
    assert {"simulator", "prediction"} <= set(NAMES)
