"""The model specification: what it accepts, the layout that it promises, and the sentence for each mistake."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import SettingsError
from meshlearn.learning import spec as specs
from meshlearn.learning.spec import Dense, Flatten, ModelSpec, Parameter, initial_vector
from tests.learning.models import FLATTEN, activation, dense, model

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "input": [28, 28, 1],
    "layers": [
        {"layer": "Flatten"},
        {"layer": "Dense", "units": 64, "activation": "relu"},
        {"layer": "Dense", "units": 10},
    ],
    "loss": "softmax_cross_entropy",
}


def test_the_layout_is_layer_order_weight_then_bias() -> None:
    spec = ModelSpec.from_json(DOCUMENT)
    assert spec.parameters == [
        Parameter("1.weight", (784, 64), 0),
        Parameter("1.bias", (64,), 784 * 64),
        Parameter("2.weight", (64, 10), 784 * 64 + 64),
        Parameter("2.bias", (10,), 784 * 64 + 64 + 640),
    ]
    assert spec.parameter_count == 50_890
    assert spec.input_shape == (28, 28, 1)
    assert spec.classes == 10


def test_text_bytes_and_objects_are_read_alike_and_written_back_as_they_were() -> None:
    text = json.dumps(DOCUMENT)
    assert ModelSpec.from_json(text) == ModelSpec.from_json(text.encode()) == ModelSpec.from_json(DOCUMENT)
    assert ModelSpec.from_json(DOCUMENT).to_json() == DOCUMENT


def test_a_specification_can_be_put_together_in_python() -> None:
    spec = ModelSpec((28, 28, 1), (Flatten(), Dense(64, "relu"), Dense(10)))
    assert spec == ModelSpec.from_json(DOCUMENT)
    with pytest.raises(SettingsError, match=r'Layer 2 \(Dense\): "units" must be a whole number'):
        ModelSpec((28, 28, 1), (Flatten(), Dense(0)))


LAYERS = st.lists(
    st.one_of(
        st.builds(dense, st.integers(1, 40), st.sampled_from(specs.ACTIVATIONS)),
        st.builds(activation, st.sampled_from(specs.ACTIVATIONS)),
        st.just(FLATTEN),
    ),
    max_size=6,
)


@given(layers=LAYERS, shape=st.lists(st.integers(1, 9), min_size=1, max_size=4), classes=st.integers(2, 20))
def test_parameters_fill_the_vector_without_gap_or_overlap(layers: list[Any], shape: list[int], classes: int) -> None:
    spec = model(FLATTEN, *layers, dense(classes), shape=tuple(shape))
    position = 0
    for parameter in spec.parameters:
        assert parameter.offset == position
        assert parameter.size == math.prod(parameter.shape)
        position += parameter.size
    assert position == spec.parameter_count == len(initial_vector(spec, 0))
    assert spec.classes == classes
    assert ModelSpec.from_json(spec.to_json()) == spec


def changed(**changes: Any) -> dict[str, Any]:
    return DOCUMENT | changes


def last(layer: Any) -> dict[str, Any]:
    return changed(layers=[{"layer": "Flatten"}, layer])


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (changed(format=2), "The model specification is of format 2; this version reads 1."),
        (changed(format=True), "The model specification is of format true; this version reads 1."),
        (changed(extra=1), 'The model specification has an unknown key "extra"; it may have format, input, layers, loss.'),
        ({"format": 1, "input": [4]}, 'The model specification needs "layers".'),
        (changed(layers={}), 'The model specification: "layers" must be a list, but it is {}.'),
        (changed(layers=[]), "A model has 1 to 256 layers, but this one has 0."),
        (changed(layers=[{"layer": "Flatten"}] * 257), "A model has 1 to 256 layers, but this one has 257."),
        (changed(loss="hinge"), 'The "loss" must be "softmax_cross_entropy", but it is "hinge".'),
        (
            changed(input=[28, -1]),
            'The "input" of the model must be a list of one to four sizes such as [28, 28, 1], but it is [28, -1].',
        ),
        (
            changed(layers=["Flatten"]),
            'Layer 1 must be an object with a name, such as {"layer": "Flatten"}, but it is "Flatten".',
        ),
        (last({"layer": "GRU"}), 'Layer 2 is of the unknown kind "GRU"; this version knows Flatten, Dense, Activation.'),
        (last({"layer": "Dense"}), 'Layer 2 (Dense) needs "units".'),
        (
            last({"layer": "Dense", "units": 10, "bias": False}),
            'Layer 2 (Dense) has an unknown key "bias"; it may have layer, units, activation.',
        ),
        (
            last({"layer": "Dense", "units": "10"}),
            'Layer 2 (Dense): "units" must be a whole number from 1 to 65536, but it is "10".',
        ),
        (
            last({"layer": "Dense", "units": 10, "activation": "gelu"}),
            'Layer 2 (Dense): "activation" must be one of linear, relu, tanh, sigmoid, but it is "gelu".',
        ),
        (
            last({"layer": "Dense", "units": 10, "activation": "softmax"}),
            'Layer 2 (Dense): "activation" must be one of linear, relu, tanh, sigmoid, but it is "softmax"; '
            "softmax is part of the loss, so leave it out.",
        ),
        (
            changed(layers=[{"layer": "Dense", "units": 10}]),
            "Layer 1 (Dense) expects a flat input, but it receives [28, 28, 1]; put a Flatten layer before it.",
        ),
        (
            last({"layer": "Dense", "units": 1}),
            "Layer 2 (Dense) is the last one and must give one value for each of at least 2 classes, but it gives [1].",
        ),
        (
            changed(layers=[{"layer": "Activation", "activation": "relu"}]),
            "Layer 1 (Activation) is the last one and must give one value for each of at least 2 classes, "
            "but it gives [28, 28, 1].",
        ),
        (
            changed(layers=[{"layer": "Flatten"}]),
            "The model has nothing to train; give it at least one Dense layer.",
        ),
        (
            changed(layers=[{"layer": "Flatten"}, *({"layer": "Dense", "units": 65_536},) * 2]),
            "The model has 4346478592 parameters; at most 67108864 can be trained, so use fewer units.",
        ),
    ],
)
def test_each_mistake_has_its_sentence(document: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ModelSpec.from_json(document)
    assert str(refused.value) == sentence


SHARED = json.loads((Path(__file__).resolve().parent.parent / "vectors" / "model_specs.json").read_text("utf-8"))


@pytest.mark.parametrize("case", SHARED["cases"], ids=lambda case: case["why"])
def test_every_reader_gives_the_verdict_of_the_shared_cases(case: dict[str, Any]) -> None:
    if case["verdict"] == "invalid":
        with pytest.raises(SettingsError) as refused:
            ModelSpec.from_json(case["document"])
        if "sentence" in case:  # where it is left out, the end of the sentence is the parser's own
            assert str(refused.value) == case["sentence"]
        return
    spec, expected = ModelSpec.from_json(case["document"]), case["spec"]
    assert spec.to_json() == expected["json"]
    assert (spec.parameter_count, spec.classes) == (expected["parameter_count"], expected["classes"])
    assert [list(shape) for shape in spec.shapes] == expected["shapes"]
    assert [
        {"name": parameter.name, "shape": list(parameter.shape), "offset": parameter.offset} for parameter in spec.parameters
    ] == expected["parameters"]


def test_the_initial_vector_follows_from_the_seed() -> None:
    spec = ModelSpec.from_json(DOCUMENT)
    first, again, other = initial_vector(spec, 7), initial_vector(spec, 7), initial_vector(spec, 8)
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("layers", "limit"),
    [
        ([dense(100, "relu")], math.sqrt(6 / 50)),
        ([dense(100), activation("relu")], math.sqrt(6 / 50)),
        ([dense(100), activation("linear"), activation("relu")], math.sqrt(6 / 50)),
        ([dense(100, "tanh")], math.sqrt(6 / 150)),
        ([dense(100), activation("sigmoid")], math.sqrt(6 / 150)),
        ([dense(100), dense(100, "relu")], math.sqrt(6 / 150)),
    ],
)
def test_weights_begin_as_he_before_a_relu_and_as_glorot_elsewhere(layers: list[Any], limit: float) -> None:
    spec = model(*layers, dense(2), shape=(50,))
    vector = initial_vector(spec, 1)
    weight, bias = vector[:5_000], vector[5_000:5_100]
    assert np.abs(weight).max() <= limit
    assert np.abs(weight).max() > 0.99 * limit
    assert abs(weight.mean()) < 0.05 * limit
    assert not bias.any()
