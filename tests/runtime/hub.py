"""Live nodes in one process, without a server and without threads: signaling in memory, and training that follows the clock."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshlearn.errors import MeshError
from meshlearn.protocol.averaging import AveragingRule, Pairwise
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.runtime.compute import Progress
from meshlearn.runtime.identity import Identity, decode_base64url
from meshlearn.runtime.memory_channel import NO_FAULTS, FaultPlan, MemoryNetwork
from meshlearn.runtime.node import Node
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind
from meshlearn.wire.quantise import Floats

RUN = "abcdefghij"
PARAMETERS = 600
SLICE_LENGTH = 256


class HubClient:
    """What a node needs of a SignalingClient."""

    def __init__(self, hub: Hub, peer_id: str, kind: str) -> None:
        self.hub = hub
        self.peer_id = peer_id
        self.kind = kind
        self.state = "away"
        self.role = "member"
        self.sent: list[dict[str, Any]] = []
        self.failure: MeshError | None = None
        self._hear: Callable[[dict[str, Any]], None] = lambda message: None
        self._hear_state: Callable[[str], None] = lambda state: None

    def on_message(self, callback: Callable[[dict[str, Any]], None]) -> None:
        self._hear = callback

    def on_state(self, callback: Callable[[str], None]) -> None:
        self._hear_state = callback

    async def connect(self) -> dict[str, Any]:
        if self.hub.down:
            raise MeshError("No server answers.")
        self.set_state("connected")
        self.hub.clients[self.peer_id] = self
        welcome = {"type": "welcome", "peers": self.hub.sample(self), "ice_servers": [], "state": "open"}
        asyncio.get_running_loop().call_soon(self.deliver, welcome)
        return welcome

    def set_state(self, state: str) -> None:
        self.state = state
        self._hear_state(state)

    def deliver(self, message: dict[str, Any]) -> None:
        self._hear(message)

    def send(self, message: dict[str, Any]) -> bool:
        if self.state != "connected":
            return False
        self.sent.append(message)
        asyncio.get_running_loop().call_soon(self.hub.route, self, message)
        return True

    async def wait(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        self.hub.clients.pop(self.peer_id, None)
        self.set_state("closed")


class Hub:
    """The signaling server of one test; `down` and back as `go_down` and `come_back` say."""

    def __init__(self) -> None:
        self.clients: dict[str, HubClient] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.down = False
        self.names_everybody = False
        """Whether a peer is introduced to itself, too."""

    def client(self, identity: Identity, kind: str) -> HubClient:
        return HubClient(self, identity.peer_id, kind)

    def sample(self, asking: HubClient) -> list[dict[str, Any]]:
        others = [client for client in self.clients.values() if client is not asking or self.names_everybody]
        return [{"peer": client.peer_id, "kind": client.kind} for client in others]

    def route(self, sender: HubClient, message: dict[str, Any]) -> None:
        if self.down or sender.state != "connected":
            return
        kind = message["type"]
        if kind == "sample":
            sender.deliver({"type": "peers", "peers": self.sample(sender)})
        elif kind == "report":
            self.reports[sender.peer_id] = message
        elif kind in ("offer", "answer", "candidate", "decline"):
            target = self.clients.get(message["to"])
            if target is None:
                sender.deliver({"type": "unreachable", "peer": message["to"], "session": message["session"]})
            else:
                target.deliver({**{key: value for key, value in message.items() if key != "to"}, "from": sender.peer_id})

    def go_down(self) -> None:
        self.down = True
        for client in self.clients.values():
            client.set_state("away")

    def come_back(self) -> None:
        self.down = False
        for client in list(self.clients.values()):
            client.set_state("connected")
            client.deliver({"type": "welcome", "peers": self.sample(client), "ice_servers": [], "state": "open"})


class SteadyTraining:
    """Steps towards a target by the loop's clock, in place of a thread; `replica` is set by the mesh."""

    def __init__(self, target: Floats, steps_per_second: float = 10.0) -> None:
        self.replica: Replica | None = None
        self.loss = 1.0
        self.finished = False
        self.state = "waiting"
        self.stopped = False
        self.pauses = 0
        self.on_end: Callable[[BaseException | None], None] = lambda error: None
        self._target = target
        self._rate = steps_per_second
        self._since: float | None = None
        self._owed = 0.0
        self._resting = False

    def start(self, on_end: Callable[[BaseException | None], None]) -> None:
        self.on_end = on_end
        self.state = "training"
        self._since = asyncio.get_running_loop().time()

    def pause(self) -> None:
        self.pauses += not self._resting
        self._resting = True

    def resume(self) -> None:
        self._resting = False

    def stop(self) -> None:
        self.stopped = True

    def progress(self) -> Progress:
        if self._since is None or self.replica is None:
            return Progress(0, 0)
        now = asyncio.get_running_loop().time()
        self._owed += 0.0 if self._resting else (now - self._since) * self._rate
        self._since = now
        steps, self._owed = int(self._owed), self._owed % 1.0
        for _ in range(steps):
            self.replica.vector += np.float32(0.02) * (self._target - self.replica.vector)
        return Progress(steps, 32 * steps)


class Mesh:
    """Nodes over one MemoryNetwork and one Hub; ``async with`` closes them."""

    def __init__(self, faults: FaultPlan = NO_FAULTS, seed: int = 1, **settings: Any) -> None:
        """`settings` are those of each `PeerConfig`."""
        self.hub = Hub()
        self.network = MemoryNetwork(random.Random(seed), faults)
        self.nodes: list[Node] = []
        self.initial = np.zeros(PARAMETERS, np.float32)
        self._seed = seed
        self._settings = {"evaluation_interval_s": 1.0, **settings}

    def node(
        self,
        *,
        target: float | None = None,
        kind: PeerKind = PeerKind.PYTHON,
        rule: AveragingRule | None = None,
        transport: Any = None,
        training: Any = None,
        **callbacks: Any,
    ) -> Node:
        """A node that is not started; it trains towards `target` where one is given."""
        number = len(self.nodes) + 1
        identity = Identity(Ed25519PrivateKey.from_private_bytes(bytes([self._seed, number]) * 16))
        config = PeerConfig(decode_base64url(identity.peer_id, 32), b"run tag.", kind=kind, **self._settings)
        replica = Replica(self.initial, SLICE_LENGTH)
        now = asyncio.get_running_loop().time()
        peer = Peer(config, replica, rule or Pairwise(), Generator(1000 * self._seed + number), now)
        if target is not None and training is None:
            training = SteadyTraining(np.full(PARAMETERS, target, np.float32))
        if training is not None:
            training.replica = replica
        signaling: Any = self.hub.client(identity, "tracker" if kind is PeerKind.TRACKER else "python")
        node = Node(
            peer,
            identity,
            RUN,
            signaling,
            transport or self.network.transport(),
            threading.Lock(),
            training=training,
            **callbacks,
        )
        self.nodes.append(node)
        return node

    async def start(self, *targets: float) -> list[Node]:
        """Start one more node for each target."""
        nodes = [self.node(target=target) for target in targets]
        for node in nodes:
            await node.start()
        return nodes

    def vectors(self) -> list[Floats]:
        return [node.peer.replica.vector for node in self.nodes]

    async def __aenter__(self) -> Mesh:
        return self

    async def __aexit__(self, *error: object) -> None:
        for node in self.nodes:
            await node.close()


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Let (virtual) time pass until the condition holds."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to pass"
        await asyncio.sleep(0.05)
