"""Which engines there are, by the name that a person types."""

from __future__ import annotations

from meshlearn.errors import SettingsError
from meshlearn.learning.dataset import PIXEL_SCALE
from meshlearn.learning.engine import Engine
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.engine_torch import TorchEngine
from meshlearn.learning.spec import ModelSpec

ENGINE_NAMES = ("numpy", "torch", "torch:DEVICE")


def make_engine(name: str, spec: ModelSpec, batch_size_max: int, scale: float = PIXEL_SCALE) -> Engine:
    """The engine called ``name``: "numpy", "torch" (on the CPU), or "torch:cuda" and the like for another
    device.

    Raises :class:`~meshlearn.errors.SettingsError` for an unknown name, a missing torch or a device that it
    lacks.
    """
    kind, _, device = name.partition(":")
    if kind == "numpy" and not device:
        return NumpyEngine(spec, batch_size_max, scale)
    if kind == "torch":
        return TorchEngine(spec, batch_size_max, scale, device or "cpu")
    raise SettingsError(f'There is no engine "{name}"; choose {", ".join(ENGINE_NAMES)}.')
