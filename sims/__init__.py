"""The simulator: a mesh of real protocol peers in virtual time, with churn, latency and loss from one seed."""

from sims.results import Result
from sims.scenario import Scenario
from sims.simulation import simulate

__all__ = ["Result", "Scenario", "simulate"]
