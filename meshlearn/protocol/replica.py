"""A peer's copy of the model: the parameter vector, cut into slices, each with its age."""

from __future__ import annotations

import numpy as np

from meshlearn.errors import SettingsError
from meshlearn.wire import limits
from meshlearn.wire.quantise import Floats

AGE_MAX = 0xFFFF_FFFF


class Replica:
    """Vector, initial vector and ages of one peer.

    The trainer adds its steps to `vector` in place and the core adds averaging changes; the driver sees to it that they do not
    do so at the same moment. Slices are contiguous and of `slice_length` values, the last one shorter.
    """

    __slots__ = ("_ages", "_averaged_at", "_steps", "initial", "slice_count", "slice_length", "vector")

    def __init__(self, initial: Floats, slice_length: int, vector: Floats | None = None) -> None:
        """Take float32 [n] `initial`, shared and never written, and `vector` (a copy of it unless given), which is owned."""
        if not 0 < slice_length <= limits.SLICE_VALUES_MAX:
            raise SettingsError(f"slice_length is {slice_length}; give 1 to {limits.SLICE_VALUES_MAX} values")
        if initial.dtype != np.float32 or initial.ndim != 1 or not len(initial):
            raise SettingsError("the initial vector must be float32 with one dimension and at least one value")
        self.initial = initial
        self.vector: Floats = initial.copy() if vector is None else vector
        self.slice_length = slice_length
        self.slice_count = -(-len(initial) // slice_length)
        if self.slice_count > limits.SLICES_MAX:
            raise SettingsError(f"{self.slice_count} slices are more than {limits.SLICES_MAX}; make slice_length longer")
        self._ages = [0] * self.slice_count
        self._steps = 0
        # The own steps at which each slice was last averaged.
        self._averaged_at = [0] * self.slice_count

    def bounds(self, index: int) -> tuple[int, int]:
        """Return (start, stop) of a slice in the vector."""
        start = index * self.slice_length
        return start, min(start + self.slice_length, len(self.initial))

    def displacement(self, index: int) -> Floats:
        """Return vector minus initial vector of a slice, a new float32 array."""
        start, stop = self.bounds(index)
        return self.vector[start:stop] - self.initial[start:stop]

    def age(self, index: int) -> int:
        """Return how many gradient steps the slice has absorbed."""
        return min(self._ages[index] + self._steps, AGE_MAX)

    @property
    def oldest(self) -> int:
        """The age of the oldest slice: what the peer tells of itself."""
        return min(max(self._ages) + self._steps, AGE_MAX)

    def steps_since_averaged(self, index: int) -> int:
        """Return how many gradient steps of its own the peer has added to the slice since it was last averaged."""
        return self._steps - self._averaged_at[index]

    def stepped(self, steps: int) -> None:
        """Count gradient steps that the trainer has added to the vector: every slice ages."""
        self._steps += steps

    def apply(self, index: int, change: Floats, age: int) -> None:
        """Add an averaging change to a slice; its age becomes `age` where that is more. Ages never fall."""
        start, stop = self.bounds(index)
        part = self.vector[start:stop]
        np.add(part, change, out=part)
        self._ages[index] = max(self._ages[index], age - self._steps)
        self._averaged_at[index] = self._steps

    def place(self, index: int, displacement: Floats, age: int) -> None:
        """Set a slice to a displacement pulled from a peer."""
        start, stop = self.bounds(index)
        np.add(self.initial[start:stop], displacement, out=self.vector[start:stop])
        self._ages[index] = max(self._ages[index], age - self._steps)
