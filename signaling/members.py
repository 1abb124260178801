"""What :class:`~signaling.rooms.Rooms` knows of a connection, of an address and of a run."""

from __future__ import annotations

import random

from signaling import messages as m
from signaling.limits import (
    CONNECTS_BURST,
    CONNECTS_PER_S,
    MESSAGES_BURST,
    MESSAGES_PER_S,
    SAMPLE_MAX,
)
from signaling.rates import TokenBucket

# One float for all clients, not two for each.
_NEVER_S = float("-inf")


class Client:
    """One connection, joined or not. `room` is None before the join; `place` is its index in the room."""

    __slots__ = (
        "address",
        "bucket",
        "connection",
        "kind",
        "nonce",
        "overrun",
        "peer",
        "place",
        "replaces",
        "report",
        "report_at_s",
        "role",
        "room",
        "verifying",
        "warned_at_s",
    )

    def __init__(self, connection: int, address: Address, nonce: bytes, now: float) -> None:
        self.connection = connection
        self.address = address
        self.nonce = nonce
        self.bucket = TokenBucket(MESSAGES_PER_S, MESSAGES_BURST, now)
        self.verifying = False
        self.room: Room | None = None
        self.peer = ""
        self.kind: m.Kind = "python"
        self.role: m.Role = "member"
        self.place = 0
        self.report: m.Report | None = None
        self.report_at_s = _NEVER_S
        self.warned_at_s = _NEVER_S
        self.overrun = 0
        self.replaces: TokenBucket | None = None


class Address:
    """The connections of one address."""

    __slots__ = ("bucket", "connections")

    def __init__(self, now: float) -> None:
        self.connections = 0
        self.bucket = TokenBucket(CONNECTS_PER_S, CONNECTS_BURST, now)


class Room:
    """The members of one run, in a list for drawing samples and by peer for relaying."""

    __slots__ = ("by_peer", "members", "run", "state")

    def __init__(self, run: str, state: m.State) -> None:
        self.run = run
        self.state = state
        self.members: list[Client] = []
        self.by_peer: dict[str, Client] = {}

    def add(self, client: Client) -> None:
        """Let a client in whose peer is not here yet."""
        client.room = self
        client.place = len(self.members)
        self.members.append(client)
        self.by_peer[client.peer] = client

    def replace(self, old: Client, new: Client) -> None:
        """Give the place of `old` to `new`, which is the same peer."""
        new.room = self
        new.place = old.place
        self.members[old.place] = new
        self.by_peer[new.peer] = new
        old.room = None

    def remove(self, client: Client) -> None:
        """Take a member out in constant time: the last one moves to its place."""
        last = self.members.pop()
        if last is not client:
            self.members[client.place] = last
            last.place = client.place
        del self.by_peer[client.peer]
        client.room = None

    def sample(self, rng: random.Random, count: int, asker: Client) -> tuple[m.Introduction, ...]:
        """Draw other members, each equally likely, at most SAMPLE_MAX of them."""
        others = len(self.members) - 1
        places = rng.sample(range(others), min(count, others, SAMPLE_MAX))
        chosen = (self.members[place + (place >= asker.place)] for place in places)
        return tuple(m.Introduction(other.peer, other.kind) for other in chosen)

    def connections(self) -> tuple[int, ...]:
        """Give the connections of all members."""
        return tuple(member.connection for member in self.members)
