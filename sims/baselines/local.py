"""The two bounds: one machine that has all the data, and machines that never speak. They have no network, and no fault of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sims.baselines.base import Baseline
from sims.clock import Op
from sims.node import Node
from sims.scenario import Scenario

ANY_TOPOLOGY = ("view", "ring", "torus", "regular", "geometric", "complete")


class OneMachine(Baseline):
    """The first machine of the scenario, always on, with all of the training data; it is never a hostile one."""

    pulls = False
    topologies = ANY_TOPOLOGY

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        assert self.task.train is not None
        self.task.holdings[0] = np.arange(len(self.task.train), dtype=np.int64)
        self.nodes[0].attack = ""

    def start(self) -> None:
        """See `World`: nobody else ever comes, and this one never goes."""
        super().start()
        self.clock.keep(Op.EVALUATE)
        self.clock.at(0.0, Op.JOIN, 0, -1)


class Isolated(Baseline):
    """Every machine trains alone on its own data; one that comes back anew starts anew."""

    pulls = False
    topologies = ANY_TOPOLOGY

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`: nothing is ever sent."""
        raise AssertionError("an isolated machine hears nothing")
