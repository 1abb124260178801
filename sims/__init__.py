"""The simulator: a mesh of real protocol peers in virtual time, with churn, latency and loss from one seed.

Names are loaded when they are first used: importing the package alone costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meshlearn.protocol.averaging import AveragingRule
    from sims.results import Result
    from sims.scenario import Scenario
    from sims.simulation import simulate

__all__ = ["AveragingRule", "Result", "Scenario", "simulate"]

_HOME: Final = {
    "AveragingRule": "meshlearn.protocol.averaging",
    "Result": "sims.results",
    "Scenario": "sims.scenario",
    "simulate": "sims.simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sims' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
