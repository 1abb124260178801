"""What an incoming slice must pass before it is applied, after its size, shape and checksum: finite, norm, clip.

Neither a norm rule nor clipping alone holds against all attacks that were tried (scaled, flipped, noisy and mislabelled peers).
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np

from meshlearn.errors import PayloadRefused
from meshlearn.protocol.averaging import AGE_SLACK
from meshlearn.wire.quantise import CHUNK, Floats

HISTORY = 15
# Up to this age a slice may be far behind an honest partner's: as far as a partner's age is believed in one step.
YOUNG = 10 * AGE_SLACK
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


class Admitted(NamedTuple):
    """What is applied of a change, float32 [n], its norm, and the share of the way that is gone: 1 unless it was clipped."""

    change: Floats
    norm: float
    share: float

    @property
    def clipped(self) -> bool:
        """Whether the change was cut."""
        return self.share < 1.0


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

    def admit(self, own: Floats, own_age: int, partner: Floats, partner_age: int, change: Floats) -> Admitted:
        """Return what to apply of the change; all slices are float32 [n], `partner_age` is the age that is believed.

        Raises PayloadRefused where a value is not finite, or where the partner's slice has a norm of more than twice the own one
        plus the clip, or plus half of the own one where that is less.
        Until there are 15 changes, a slice of an age of at most 1,000 allows for the partner's lead: a model moves at most in
        proportion to its steps, and a slow machine that starts together with a fast one must not be left behind.
        """
        partner_norm, own_norm, change_norm = norm(partner), norm(own), norm(change)
        if not (math.isfinite(partner_norm) and math.isfinite(change_norm)):
            raise PayloadRefused("a slice with a value that is not finite, or with a norm that is not, was sent")
        clip, lead = self.clip_norm, 1.0
        if clip == math.inf:
            # Without a history a slice may double: two of equal norm, however different, move freely; a slow machine catches up
            # with a fast one in a few exchanges; and a lie that comes first is not followed far.
            clip = own_norm * self._clip_factor / 4.0
            if own_age <= YOUNG:
                lead = max(1.0, partner_age / own_age)
        # Some room on top, for peers whose data moves them less; with more of it a model that is sent -4 times would pass.
        if partner_norm > self._norm_factor * lead * own_norm + min(clip, own_norm / 2.0):
            raise PayloadRefused(f"a slice of norm {partner_norm:.3g} is out of proportion to the own one")
        share = 1.0
        if change_norm > clip:
            share = float(np.float32(clip / change_norm))
            change = change * np.float32(share)
            change_norm = clip
        self._accepted.append(change_norm)
        return Admitted(change, change_norm, share)
