"""The averaging rule: what two peers make of their slices. A small interface, so that a researcher can write another.

A rule runs unchanged in the live mesh and in the simulator. The pairwise rule is that of randomised gossip (Boyd, Ghosh,
Prabhakar & Shah 2006), with the ages of gossip learning (Ormandi, Hegedus & Jelasity 2013) for newcomers and stale tabs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from meshlearn.errors import SettingsError
from meshlearn.wire.quantise import Floats

# Ages that differ by less than a factor of two, or by less than this many steps, count as equal: the two sides then move by the
# same amount in opposite directions, and the mean of the mesh is kept exactly.
AGE_SLACK = 100


def believed_age(own: int, claimed: int) -> int:
    """Return the age to count for a partner that claims `claimed`: at most twice the own one, or 1,000 steps more.

    Nobody can prove an age, so a claim can win influence only step by step; a peer that is far behind pulls the model anew.
    """
    return min(claimed, max(2 * own, own + 10 * AGE_SLACK))


@dataclass(frozen=True, slots=True)
class Contribution:
    """One side of an exchange: the decoded slice, float32 [n], and its age."""

    values: Floats
    age: int


class AveragingRule(ABC):
    """What becomes of a slice when two peers meet. Subclass it, name it, and give it to a peer or to the simulator."""

    name: ClassVar[str]
    exchanges: ClassVar[bool] = True
    """Whether the peer takes part in exchanges at all."""

    @abstractmethod
    def weight(self, own_age: int, partner_age: int) -> float:
        """Return how far to go towards the partner, 0..1. The mean is kept where both sides go equally far."""

    def change(self, own: Contribution, partner: Contribution) -> Floats:
        """Return the change of the own slice, float32 [n]: weight * (partner - own)."""
        difference = partner.values - own.values
        difference *= np.float32(self.weight(own.age, partner.age))
        return difference

    def averaged(self, start: int, stop: int, change: Floats, steps: int) -> None:  # noqa: B027 - most rules do not need it
        """Hear that `change` was added to the vector from `start` to `stop`, `steps` own gradient steps after the last one."""

    @property
    def correction(self) -> Floats | None:
        """What the trainer adds to each gradient, float32 [parameters]; None for nothing."""
        return None


class Pairwise(AveragingRule):
    """Both sides meet in the middle; a side of less than half the age goes further, in proportion to the ages."""

    name = "pairwise"

    def weight(self, own_age: int, partner_age: int) -> float:
        """Return 1/2 for ages within a factor of two or AGE_SLACK steps, else partner / (own + partner)."""
        low, high = (own_age, partner_age) if own_age < partner_age else (partner_age, own_age)
        if 2 * low >= high or high - low <= AGE_SLACK:
            return 0.5
        return partner_age / (own_age + partner_age)


class DriftCorrected(Pairwise):
    """Pairwise averaging with a local control variate against the drift of skewed data; it costs no communication.

    In the manner of ProxSkip (Mishchenko, Malinovsky, Stich & Richtarik 2022): each averaging change tells how the local
    gradient has drifted, so a share of it, over the learning rate, is taken off the gradient from then on.
    """

    name = "drift-corrected"

    def __init__(self, parameter_count: int, learning_rate: float, gain: float = 0.02) -> None:
        """Correct by `gain` (0..0.05; 0.1 diverged in measurements) times change / `learning_rate` at each averaging."""
        if not 0.0 <= gain <= 0.05:
            raise SettingsError(f"drift_gain is {gain}; give 0 to 0.05, above which training diverges")
        if not learning_rate > 0:
            raise SettingsError("the learning rate must be more than 0")
        self._correction = np.zeros(parameter_count, np.float32)
        self._gain = gain
        self._learning_rate = learning_rate

    def averaged(self, start: int, stop: int, change: Floats, steps: int) -> None:
        """Add -min(gain, 1 / steps) * change / learning rate to the correction.

        The correction acts on every step until the next averaging: with more than 1 / gain steps in between it would take back
        more than the change that it learns from, and diverge.
        """
        gain = min(self._gain, 1.0 / max(1, steps))
        self._correction[start:stop] += np.float32(-gain / self._learning_rate) * change

    @property
    def correction(self) -> Floats | None:
        """The control variate, float32 [parameters]."""
        return self._correction


class NoAveraging(AveragingRule):
    """Every peer trains alone: the lower bound that a mesh is compared with."""

    name = "none"
    exchanges = False

    def weight(self, own_age: int, partner_age: int) -> float:
        """Return 0: stay."""
        return 0.0


def check_rule(name: str, optimiser: str) -> None:
    """Raise SettingsError where the rule does not go with the optimiser of that name.

    The drift correction reads a gradient out of a change of the parameters, by the learning rate: with Adam, whose changes do not
    grow with the gradient, it would take the models apart.
    """
    if name == DriftCorrected.name and optimiser != "sgd":
        raise SettingsError(
            f'The rule "{name}" goes with the optimiser "sgd" alone; choose the rule "pairwise" for "{optimiser}".'
        )


def make_rule(name: str, parameter_count: int, learning_rate: float, drift_gain: float = 0.02) -> AveragingRule:
    """Return the rule of a run's settings; raises SettingsError where there is none of that name."""
    if name == Pairwise.name:
        return Pairwise()
    if name == DriftCorrected.name:
        return DriftCorrected(parameter_count, learning_rate, drift_gain)
    if name == NoAveraging.name:
        return NoAveraging()
    raise SettingsError(f"there is no averaging rule {name!r}; use pairwise, drift-corrected or none")
