"""One simulated machine and its lines: where it stands in the world, and what the world must know of it."""

from __future__ import annotations

from collections import deque
from typing import Any

from meshlearn.protocol.peer import Peer
from meshlearn.wire.generator import Generator

OFFLINE, ONLINE, ASLEEP = 0, 1, 2


class Node:
    """A machine of the scenario; it keeps its number and its class for life, its peer for a session."""

    __slots__ = (
        "attack",
        "born_at",
        "bytes_in",
        "bytes_out",
        "clock_offset_s",
        "clock_rate",
        "down_bytes_per_s",
        "down_free_at",
        "group",
        "kind",
        "life",
        "nat",
        "number",
        "online_s",
        "peer",
        "peer_id",
        "pending_samples",
        "pending_steps",
        "pipes",
        "place",
        "read_bytes_per_s",
        "ready",
        "region",
        "sessions",
        "since",
        "state",
        "stay",
        "step_s",
        "steps",
        "store",
        "strength",
        "tick_at",
        "token",
        "training",
        "up_bytes_per_s",
        "up_free_at",
        "wakes_at",
    )

    def __init__(self, number: int, kind: int, peer_id: bytes, life: Generator) -> None:
        self.number = number
        self.kind = kind
        """Which class of the scenario."""
        self.peer_id = peer_id
        self.life = life
        """Draws this machine's sessions and absences."""
        self.state = OFFLINE
        self.ready = False
        self.training = False
        self.peer: Peer | None = None
        self.pipes: dict[int, Pipe] = {}
        """By the number of the link at this end: where frames go."""
        self.token = 0
        """Counts lives: what was scheduled for an earlier one is void."""
        self.stay = 0
        """Counts the times that the machine came online, from sleep too: the end of an earlier session is void."""
        self.tick_at = float("inf")
        self.pending_steps = 0
        self.pending_samples = 0
        self.step_s = 0.1
        self.steps = 0
        self.sessions = 0
        self.born_at = -1.0
        self.since = 0.0
        self.online_s = 0.0
        self.wakes_at = 0.0
        self.up_bytes_per_s = 0.0
        self.down_bytes_per_s = 0.0
        self.read_bytes_per_s = float("inf")
        self.up_free_at = 0.0
        self.down_free_at = 0.0
        self.bytes_in = 0
        self.bytes_out = 0
        self.nat = "behind"
        self.region = 0
        self.group = 0
        self.clock_rate = 1.0
        self.clock_offset_s = 0.0
        self.attack = ""
        self.strength = 0.0
        self.place = -1
        """Where the node is in the list of those online, -1 where it is not."""
        self.store: Any = None
        """What a method other than the mesh keeps at a node."""

    @property
    def online(self) -> bool:
        """Whether the machine runs and hears."""
        return self.state == ONLINE

    def local_time(self, now: float) -> float:
        """Return what the machine's own clock shows, in seconds."""
        return self.clock_offset_s + now * self.clock_rate


class Pipe:
    """One direction of a link."""

    __slots__ = (
        "arrived_at",
        "congested",
        "free_at",
        "half_trip_s",
        "link",
        "open",
        "queue",
        "rate",
        "receiver",
        "sender",
        "sender_link",
    )

    def __init__(self, sender: Node, sender_link: int, receiver: Node, link: int, half_trip_s: float, rate: float) -> None:
        self.sender = sender
        self.sender_link = sender_link
        self.receiver = receiver
        self.link = link
        """The link's number at the receiver."""
        self.half_trip_s = half_trip_s
        self.rate = rate
        """Bytes a second that the pipe can carry, infinite unless loss or a slow reader bounds it."""
        self.free_at = 0.0
        self.arrived_at = 0.0
        self.open = True
        self.congested = False
        self.queue: deque[tuple[float, int]] | None = None
