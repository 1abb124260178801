"""Methods of the literature in the same worlds as the mesh: the same machines, churn, network, training, lies and measures."""

from __future__ import annotations

from sims.baselines.base import Baseline, refused
from sims.baselines.gossip import AdPsgd, Epidemic, NaiveEightBit, PartitionedGossip, PartitionedGossipTokens
from sims.baselines.graphs import ChocoSgd, DPsgdRegular, DPsgdRing
from sims.baselines.local import Isolated, OneMachine
from sims.baselines.rounds import AllReduce, NoLoCo
from sims.baselines.servers import FederatedAveraging, ParameterServer, TaskQueue
from sims.scenario import Scenario

BASELINES: dict[str, type[Baseline]] = {
    "one-machine": OneMachine,
    "isolated": Isolated,
    "parameter-server": ParameterServer,
    "task-queue": TaskQueue,
    "all-reduce": AllReduce,
    "federated-averaging": FederatedAveraging,
    "d-psgd-ring": DPsgdRing,
    "d-psgd-regular": DPsgdRegular,
    "ad-psgd": AdPsgd,
    "choco-sgd": ChocoSgd,
    "partitioned-gossip": PartitionedGossip,
    "partitioned-gossip-tokens": PartitionedGossipTokens,
    "epidemic": Epidemic,
    "noloco": NoLoCo,
    "naive-8-bit": NaiveEightBit,
}


def make_baseline(scenario: Scenario, *, batched: bool = True) -> Baseline:
    """Return the world of a scenario's method, not yet started; raises SettingsError where the method cannot honour a key."""
    return BASELINES[scenario.run.method](scenario, batched=batched)


def refusal(scenario: Scenario) -> str:
    """Return why a scenario's method cannot run in it, in one sentence that names the key; empty where it can."""
    kind = BASELINES.get(scenario.run.method)
    return "" if kind is None else refused(kind, scenario)


__all__ = ["BASELINES", "Baseline", "make_baseline", "refusal"]
