"""The model specification: a JSON list of layers with Keras' names, and the flat parameter vector that it
defines.

::

    {"format": 1, "input": [28, 28, 1],
     "layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 64, "activation": "relu"},
                {"layer": "Dense", "units": 10}],
     "loss": "softmax_cross_entropy"}

The layout is what every engine agrees on: parameters in layer order, weight before bias, each row-major; a
dense weight is ``[in, out]``, activations are NHWC. A kind of layer is one class here (its JSON and its
shapes) and one class for each engine that computes it; :data:`LAYER_KINDS` is the list of what a
specification may name.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import SettingsError
from meshlearn.learning import strict_json

Vector = NDArray[np.float32]
Shape = tuple[int, ...]

FORMAT = 1
LOSS = "softmax_cross_entropy"
ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")
LAYERS_MAX = 256
UNITS_MAX = 65_536
PARAMETERS_MAX = 2**26  # 256 MiB of float32: each peer holds the vector, its gradient and its optimiser's state


class Parameter(NamedTuple):
    """One tensor inside the flat vector: ``vector[offset : offset + size].reshape(shape)``."""

    name: str
    shape: Shape
    offset: int

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


class Tensor(NamedTuple):
    """A tensor that a layer wants: its role ("weight", "bias"), shape and fans; a fan of 0 means that it
    starts at zero.
    """

    role: str
    shape: Shape
    fan_in: int = 0
    fan_out: int = 0


class LayerSpec(ABC):
    """One layer of a specification: its JSON form and the shapes that it makes; no computing."""

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: dict[str, Any], place: str) -> LayerSpec:
        """Read the layer's own keys; ``place`` ("Layer 2 (Dense)") begins the sentence of every
        SettingsError.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The layer as JSON, without what is the default."""

    @abstractmethod
    def output_shape(self, input_shape: Shape, place: str) -> Shape:
        """The shape of one example after the layer; SettingsError where ``input_shape`` does not fit."""

    def tensors(self, input_shape: Shape) -> tuple[Tensor, ...]:
        """The parameters in the order of the vector; none unless the layer says otherwise."""
        return ()

    @property
    def activation_last(self) -> str:
        """The activation that the layer ends with; linear where it has none."""
        return "linear"


@dataclass(frozen=True, slots=True)
class Flatten(LayerSpec):
    """Each example as one row of values, row-major."""

    kind: ClassVar[str] = "Flatten"

    @classmethod
    def from_fields(cls, fields: dict[str, Any], place: str) -> Flatten:
        """``{"layer": "Flatten"}``."""
        strict_json.only_keys(fields, ("layer",), (), place, SettingsError)
        return cls()

    def to_json(self) -> dict[str, Any]:
        """``{"layer": "Flatten"}``."""
        return {"layer": self.kind}

    def output_shape(self, input_shape: Shape, place: str) -> Shape:
        """One axis of all the values."""
        return (math.prod(input_shape),)


@dataclass(frozen=True, slots=True)
class Dense(LayerSpec):
    """``activation(x @ weight + bias)`` with a weight of ``[in, units]``."""

    units: int
    activation: str = "linear"
    kind: ClassVar[str] = "Dense"

    @classmethod
    def from_fields(cls, fields: dict[str, Any], place: str) -> Dense:
        """``{"layer": "Dense", "units": 64, "activation": "relu"}``; the activation is linear where none is
        given.
        """
        strict_json.only_keys(fields, ("layer", "units", "activation"), ("units",), place, SettingsError)
        units = strict_json.whole(fields["units"], 1, UNITS_MAX, f'{place}: "units"', SettingsError)
        return cls(units, _activation(fields.get("activation", "linear"), place))

    def to_json(self) -> dict[str, Any]:
        """The layer with its units, and its activation where that is not linear."""
        activation = {} if self.activation == "linear" else {"activation": self.activation}
        return {"layer": self.kind, "units": self.units, **activation}

    def output_shape(self, input_shape: Shape, place: str) -> Shape:
        """``(units,)``."""
        if len(input_shape) != 1:
            raise SettingsError(
                f"{place} expects a flat input, but it receives {list(input_shape)}; put a Flatten layer before it."
            )
        return (self.units,)

    def tensors(self, input_shape: Shape) -> tuple[Tensor, ...]:
        """Weight ``[in, units]``, then bias ``[units]``."""
        inputs = input_shape[0]
        return Tensor("weight", (inputs, self.units), inputs, self.units), Tensor("bias", (self.units,))

    @property
    def activation_last(self) -> str:
        """Its activation."""
        return self.activation


@dataclass(frozen=True, slots=True)
class Activation(LayerSpec):
    """An activation of every value by itself: linear, relu, tanh or sigmoid."""

    activation: str
    kind: ClassVar[str] = "Activation"

    @classmethod
    def from_fields(cls, fields: dict[str, Any], place: str) -> Activation:
        """``{"layer": "Activation", "activation": "relu"}``."""
        strict_json.only_keys(fields, ("layer", "activation"), ("activation",), place, SettingsError)
        return cls(_activation(fields["activation"], place))

    def to_json(self) -> dict[str, Any]:
        """The layer with its activation."""
        return {"layer": self.kind, "activation": self.activation}

    def output_shape(self, input_shape: Shape, place: str) -> Shape:
        """As it comes."""
        return input_shape

    @property
    def activation_last(self) -> str:
        """Its activation."""
        return self.activation


LAYER_KINDS: dict[str, type[LayerSpec]] = {kind.kind: kind for kind in (Flatten, Dense, Activation)}


@dataclass(frozen=True)
class ModelSpec:
    """A checked model specification. Two specifications are equal where they describe the same model.

    Raises :class:`~meshlearn.errors.SettingsError` with one sentence that names the layer and says what was
    expected.
    """

    input_shape: Shape
    layers: tuple[LayerSpec, ...]
    loss: str = LOSS

    def __post_init__(self) -> None:
        input_shape = strict_json.shape(self.input_shape, 'The "input" of the model', SettingsError)
        object.__setattr__(self, "input_shape", input_shape)
        object.__setattr__(self, "layers", tuple(self.layers))
        if not 1 <= len(self.layers) <= LAYERS_MAX:
            raise SettingsError(f"A model has 1 to {LAYERS_MAX} layers, but this one has {len(self.layers)}.")
        for index, layer in enumerate(self.layers):
            _read_layer(layer.to_json(), index)
        if self.loss != LOSS:
            raise SettingsError(f'The "loss" must be "{LOSS}", but it is {strict_json.shown(self.loss)}.')
        if len(self.output_shape) != 1 or self.classes < 2:
            raise SettingsError(
                f"{self._place(len(self.layers) - 1)} is the last one and must give one value for each of "
                f"at least 2 classes, but it gives {list(self.output_shape)}."
            )
        if self.parameter_count == 0:
            raise SettingsError("The model has nothing to train; give it at least one Dense layer.")
        if self.parameter_count > PARAMETERS_MAX:
            raise SettingsError(
                f"The model has {self.parameter_count} parameters; at most {PARAMETERS_MAX} can be trained, so use fewer units."
            )

    @classmethod
    def from_json(cls, document: dict[str, Any] | str | bytes) -> ModelSpec:
        """Read a specification from a parsed object, from text or from UTF-8 bytes."""
        what = "The model specification"
        fields = strict_json.read_object(document, what, SettingsError)
        strict_json.only_keys(fields, ("format", "input", "layers", "loss"), ("format", "input", "layers"), what, SettingsError)
        if type(fields["format"]) is not int or fields["format"] != FORMAT:
            raise SettingsError(f"{what} is of format {strict_json.shown(fields['format'])}; this version reads {FORMAT}.")
        if not isinstance(fields["layers"], list):
            raise SettingsError(f'{what}: "layers" must be a list, but it is {strict_json.shown(fields["layers"])}.')
        return cls(
            strict_json.shape(fields["input"], 'The "input" of the model', SettingsError),
            tuple(_read_layer(entry, index) for index, entry in enumerate(fields["layers"])),
            fields.get("loss", LOSS),
        )

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object; ``ModelSpec.from_json`` of it gives an equal specification."""
        return {
            "format": FORMAT,
            "input": list(self.input_shape),
            "layers": [layer.to_json() for layer in self.layers],
            "loss": self.loss,
        }

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of one example before each layer and, last, after the last one."""
        shapes = [self.input_shape]
        for index, layer in enumerate(self.layers):
            shapes.append(layer.output_shape(shapes[-1], self._place(index)))
        return tuple(shapes)

    @property
    def output_shape(self) -> Shape:
        """The shape of one example after the last layer."""
        return self.shapes[-1]

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self.output_shape[0]

    @cached_property
    def layer_parameters(self) -> tuple[tuple[Parameter, ...], ...]:
        """The parameters of each layer, by layer; names are ``"1.weight"``: the layer counted from 0, and
        the role.
        """
        offset = 0
        layers = []
        for index, (layer, input_shape) in enumerate(zip(self.layers, self.shapes, strict=False)):
            parameters = []
            for tensor in layer.tensors(input_shape):
                parameters.append(Parameter(f"{index}.{tensor.role}", tensor.shape, offset))
                offset += parameters[-1].size
            layers.append(tuple(parameters))
        return tuple(layers)

    @property
    def parameters(self) -> list[Parameter]:
        """Every parameter in the order of the vector, as (name, shape, offset)."""
        return [parameter for layer in self.layer_parameters for parameter in layer]

    @cached_property
    def parameter_count(self) -> int:
        """The length of the parameter vector."""
        return sum(parameter.size for parameter in self.parameters)

    def activation_after(self, index: int) -> str:
        """The activation that the output of layer ``index`` meets first; linear where it reaches the loss as it is."""
        for later in range(index, len(self.layers)):
            if later > index and self.layer_parameters[later]:
                break
            if self.layers[later].activation_last != "linear":
                return self.layers[later].activation_last
        return "linear"

    def _place(self, index: int) -> str:
        return f"Layer {index + 1} ({self.layers[index].kind})"


def initial_vector(spec: ModelSpec, seed: int) -> Vector:
    """The vector that a run starts from, float32 ``[spec.parameter_count]``; the same seed gives the same
    vector.

    Weights are uniform in ±sqrt(6 / fan_in) before a relu (He et al. 2015), else in ±sqrt(6 / (fan_in +
    fan_out)) (Glorot & Bengio 2010); biases are zero. Values come from numpy's PCG64(seed) in the order of
    the vector. Engines and languages need not reproduce that: the vector is made once and ships with the
    run.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    vector = np.zeros(spec.parameter_count, dtype=np.float32)
    for index, (layer, parameters) in enumerate(zip(spec.layers, spec.layer_parameters, strict=True)):
        rectified = spec.activation_after(index) == "relu"
        for tensor, parameter in zip(layer.tensors(spec.shapes[index]), parameters, strict=True):
            if tensor.fan_in:
                fans = tensor.fan_in if rectified else tensor.fan_in + tensor.fan_out
                limit = math.sqrt(6 / fans)
                values = vector[parameter.offset : parameter.offset + parameter.size]
                values[:] = generator.uniform(-limit, limit, parameter.size)
    return vector


def _read_layer(entry: object, index: int) -> LayerSpec:
    if not isinstance(entry, dict) or not isinstance(entry.get("layer"), str):
        raise SettingsError(
            f'Layer {index + 1} must be an object with a name, such as {{"layer": "Flatten"}}, '
            f"but it is {strict_json.shown(entry)}."
        )
    kind = LAYER_KINDS.get(entry["layer"])
    if kind is None:
        raise SettingsError(
            f"Layer {index + 1} is of the unknown kind {strict_json.shown(entry['layer'])}; "
            f"this version knows {', '.join(LAYER_KINDS)}."
        )
    return kind.from_fields(entry, f"Layer {index + 1} ({kind.kind})")


def _activation(value: object, place: str) -> str:
    if not isinstance(value, str) or value not in ACTIVATIONS:
        hint = "; softmax is part of the loss, so leave it out" if value == "softmax" else ""
        raise SettingsError(
            f'{place}: "activation" must be one of {", ".join(ACTIVATIONS)}, but it is {strict_json.shown(value)}{hint}.'
        )
    return value
