"""What an incoming slice must pass before it is applied, after its size, shape and checksum: finite, norm, clip.

Neither a norm rule nor clipping alone holds against all attacks that were tried (scaled, flipped, noisy and mislabelled peers).
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from meshlearn.errors import PayloadRefused
from meshlearn.protocol.averaging import AGE_SLACK
from meshlearn.wire.quantise import CHUNK, Floats

HISTORY = 15
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def norm(values: Floats) -> float:
    """Return the Euclidean norm; infinite or NaN where a value is, or where it leaves float32.

    Summed in float64, in any order, and rounded to float32, so that every machine comes to the same.
    """
    if len(values) <= CHUNK:
        part = values.astype(np.float64)
        square = float(part.dot(part))
    else:
        square = 0.0
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK].astype(np.float64)
            square += float(part.dot(part))
    # A root over the largest float32 counts as infinite; a NaN stays one.
    root = math.sqrt(square)
    return math.inf if root > _FLOAT32_MAX else float(np.float32(root))


class Admission:
    """Judges changes by the last 15 that were accepted."""

    __slots__ = ("_accepted", "_clip_factor", "_norm_factor")

    def __init__(self, norm_factor: float = 2.0, clip_factor: float = 4.0) -> None:
        self._norm_factor = norm_factor
        self._clip_factor = clip_factor
        self._accepted: deque[float] = deque(maxlen=HISTORY)

    @property
    def clip_norm(self) -> float:
        """The norm to which a change is cut: `clip_factor` times the median of the last 15; infinite until there are 15.

        A factor of 1 would cut half of all honest changes, and with them the symmetry that keeps the mean of the mesh.
        """
        if len(self._accepted) < HISTORY:
            return math.inf
        # Peers that have not moved apart yet (nobody has trained) say nothing about the changes to come.
        return self._clip_factor * sorted(self._accepted)[HISTORY // 2] or math.inf

    def admit(self, own: Floats, own_age: int, partner: Floats, change: Floats) -> tuple[Floats, float, bool]:
        """Return the change to apply, its norm, and whether it was clipped; all slices are float32 [n].

        Raises PayloadRefused where a value is not finite, or where the partner's slice has a norm of more than twice the own one
        plus the clip norm. A young slice is small beside any honest partner's: until there are 15 changes the clip alone bounds
        the harm to it.
        """
        partner_norm, own_norm, change_norm = norm(partner), norm(own), norm(change)
        if not (math.isfinite(partner_norm) and math.isfinite(change_norm)):
            raise PayloadRefused("a slice with a value that is not finite, or with a norm that is not, was sent")
        clip = self.clip_norm
        young = False
        if clip == math.inf:
            # Without a history a slice may double: two of equal norm, however different, move freely; a slow machine catches up
            # with a fast one in a few exchanges; and a lie that comes first is not followed far.
            clip = own_norm * self._clip_factor / 4.0
            young = own_age <= AGE_SLACK
        if partner_norm > self._norm_factor * own_norm + clip and not young:
            raise PayloadRefused(f"a slice of norm {partner_norm:.3g} is out of proportion to the own one")
        clipped = change_norm > clip
        if clipped:
            change = change * np.float32(clip / change_norm)
            change_norm = clip
        self._accepted.append(change_norm)
        return change, change_norm, clipped
