"""The laws of times, speeds and delays, each drawn from one uniform number; with their distribution functions for tests."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshlearn.errors import SettingsError
from sims.seeds import exponential, standard_normal


class Law(ABC):
    """A probability law of numbers from 0."""

    @abstractmethod
    def draw(self, uniform: float) -> float:
        """Return the value that one uniform number of [0, 1) gives."""

    @abstractmethod
    def share_below(self, value: float) -> float:
        """Return the probability of a value of at most `value`."""


@dataclass(frozen=True)
class Constant(Law):
    """Always the same."""

    value: float

    def draw(self, uniform: float) -> float:
        """See `Law`."""
        return self.value

    def share_below(self, value: float) -> float:
        """See `Law`."""
        return float(value >= self.value)


@dataclass(frozen=True)
class Uniform(Law):
    """Everything from `low` to `high` alike."""

    low: float
    high: float

    def draw(self, uniform: float) -> float:
        """See `Law`."""
        return self.low + (self.high - self.low) * uniform

    def share_below(self, value: float) -> float:
        """See `Law`."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


@dataclass(frozen=True)
class Exponential(Law):
    """Memoryless, with that mean."""

    mean: float

    def draw(self, uniform: float) -> float:
        """See `Law`."""
        return self.mean * exponential(uniform)

    def share_below(self, value: float) -> float:
        """See `Law`."""
        return -math.expm1(-max(value, 0.0) / self.mean)


@dataclass(frozen=True)
class Weibull(Law):
    """`scale` times an exponential to the power of 1 / `shape`; a shape under 1 has many short values and a long tail."""

    shape: float
    scale: float

    def draw(self, uniform: float) -> float:
        """See `Law`."""
        return float(self.scale * exponential(uniform) ** (1.0 / self.shape))

    def share_below(self, value: float) -> float:
        """See `Law`."""
        return -math.expm1(-((max(value, 0.0) / self.scale) ** self.shape))


@dataclass(frozen=True)
class LogNormal(Law):
    """`median` times e to the power of a normal number of deviation `sigma`."""

    median: float
    sigma: float

    def draw(self, uniform: float) -> float:
        """See `Law`."""
        return self.median * math.exp(self.sigma * standard_normal(uniform))

    def share_below(self, value: float) -> float:
        """See `Law`."""
        if value <= 0:
            return 0.0
        return 0.5 * math.erfc(-math.log(value / self.median) / (self.sigma * math.sqrt(2.0)))


@dataclass(frozen=True)
class Normal(Law):
    """The normal law; what would be negative is 0."""

    mean: float
    deviation: float

    def draw(self, uniform: float) -> float:
        """See `Law`."""
        return max(0.0, self.mean + self.deviation * standard_normal(uniform))

    def share_below(self, value: float) -> float:
        """See `Law`."""
        return 0.0 if value < 0 else 0.5 * math.erfc((self.mean - value) / (self.deviation * math.sqrt(2.0)))


@dataclass(frozen=True)
class Mixture(Law):
    """With a probability of `share` the first law, else the second."""

    share: float
    first: Law
    second: Law

    def draw(self, uniform: float) -> float:
        """See `Law`."""
        if uniform < self.share:
            return self.first.draw(uniform / self.share)
        return self.second.draw((uniform - self.share) / (1.0 - self.share))

    def share_below(self, value: float) -> float:
        """See `Law`."""
        return self.share * self.first.share_below(value) + (1.0 - self.share) * self.second.share_below(value)


LAWS: Mapping[str, tuple[type[Law], tuple[str, ...]]] = {
    "constant": (Constant, ("value",)),
    "uniform": (Uniform, ("low", "high")),
    "exponential": (Exponential, ("mean",)),
    "weibull": (Weibull, ("shape", "scale")),
    "log-normal": (LogNormal, ("median", "sigma")),
    "normal": (Normal, ("mean", "deviation")),
}
EXPECTED = (
    "a number, or a law such as { law = "
    + '"exponential", mean = 120 }: constant (value), uniform (low, high), exponential (mean), weibull (shape, scale), '
    "log-normal (median, sigma), normal (mean, deviation), mixture (share, first, second)"
)


def law_from(value: object) -> Law:
    """Return the law that a scenario's value describes; raises SettingsError that says what was expected."""
    if isinstance(value, Law):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | dict):
        raise SettingsError(f"expected {EXPECTED}")
    if isinstance(value, int | float):
        return Constant(_number(value, "value"))
    fields = dict(value)
    name = fields.pop("law", None)
    if name == "mixture":
        if set(fields) != {"share", "first", "second"}:
            raise SettingsError("a mixture has share, first and second")
        share = _number(fields["share"], "share")
        if not 0.0 < share < 1.0:
            raise SettingsError("the share of a mixture is a number between 0 and 1")
        return Mixture(share, law_from(fields["first"]), law_from(fields["second"]))
    if name not in LAWS:
        raise SettingsError(f"expected {EXPECTED}")
    kind, keys = LAWS[str(name)]
    if set(fields) != set(keys):
        raise SettingsError(f"the law {name} has {' and '.join(keys)}, and nothing else")
    numbers = [_number(fields[key], key) for key in keys]
    if kind is Uniform and not numbers[0] < numbers[1]:
        raise SettingsError("low is less than high in a uniform law")
    if kind in (Exponential, Weibull, LogNormal) and not min(numbers) > 0:
        raise SettingsError(f"{' and '.join(keys)} of the law {name} are more than 0")
    found = kind(*numbers)
    try:
        found.draw(1.0 - 2.0**-53)
        found.draw(2.0**-53)
    except (OverflowError, ZeroDivisionError):
        raise SettingsError(f"the law {name} has numbers that lead beyond all measure") from None
    return found


def law_to_json(law: Law) -> dict[str, Any] | float:
    """Return what `law_from` takes: the law as a scenario says it."""
    if isinstance(law, Constant):
        return law.value
    if isinstance(law, Mixture):
        return {"law": "mixture", "share": law.share, "first": law_to_json(law.first), "second": law_to_json(law.second)}
    for name, (kind, keys) in LAWS.items():
        if type(law) is kind:
            return {"law": name, **{key: getattr(law, key) for key in keys}}
    raise TypeError(f"{law} is no law that a scenario can name")


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e300:
        raise SettingsError(f"{key} is a number from 0")
    return float(value)
