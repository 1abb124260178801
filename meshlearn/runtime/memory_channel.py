"""Links inside one process, for tests of the node: no sockets, no clock, and faults from a seed.

Frames go through the event loop's ready queue, one turn each, so the same program with the same seed always sees the same
order. A lossy or reordering network is a `FaultPlan`; a dead peer is `MemoryTransport.vanish()`; a congested link is
`MemoryChannel.pause()`.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from meshlearn.errors import MalformedMessage
from meshlearn.runtime.channel import BaseChannel, ChannelClosed
from meshlearn.runtime.transport import CONNECT_TIMEOUT_S, BaseTransport, Connection, Session

# A reordered frame takes this many turns of the loop more, so that frames sent right after it overtake it.
REORDER_TURNS = 3

_DESCRIPTION = (
    "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    "a=candidate:memory 1 udp 1 127.0.0.1 {number} typ host\r\na=fingerprint:sha-256 {fingerprint}\r\n"
)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What a network does to each frame, as probabilities between 0 and 1, drawn in this order."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


NO_FAULTS = FaultPlan()


class MemoryNetwork:
    """What the transports of one test share: the descriptions, the faults, the random numbers behind both."""

    def __init__(self, rng: random.Random, faults: FaultPlan = NO_FAULTS) -> None:
        self.rng = rng
        self.faults = faults
        self.frames_dropped = 0
        self.frames_duplicated = 0
        self.frames_reordered = 0
        self._numbers = count(1)
        self._connections: dict[str, _MemoryConnection] = {}

    def transport(self, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> MemoryTransport:
        """Return the transport of one more peer."""
        return MemoryTransport(self, connect_timeout_s=connect_timeout_s)

    def pair(self, one: str, other: str) -> tuple[MemoryChannel, MemoryChannel]:
        """Return both ends of an open link: the one that peer `one` holds, and the one that `other` holds."""
        ends = (
            MemoryChannel(self, other, _nothing, outgoing=True),
            MemoryChannel(self, one, _nothing, outgoing=False),
        )
        ends[0].attach(ends[1])
        ends[1].attach(ends[0])
        return ends

    def describe(self, connection: _MemoryConnection) -> str:
        """Return a description under which `find` knows the connection; its fingerprint is a random one."""
        fingerprint = ":".join(f"{byte:02X}" for byte in self.rng.randbytes(32))
        description = _DESCRIPTION.format(number=next(self._numbers), fingerprint=fingerprint)
        self._connections[description] = connection
        return description

    def find(self, description: str) -> _MemoryConnection:
        """Return the connection of a description; raises MalformedMessage where there is none."""
        connection = self._connections.get(description)
        if connection is None:
            raise MalformedMessage("the description is of another network")
        return connection

    def forget(self, connection: _MemoryConnection) -> None:
        """Take no further description of this connection."""
        self._connections = {sdp: other for sdp, other in self._connections.items() if other is not connection}

    def new_session(self) -> str:
        """Return the next session id."""
        return f"session-{next(self._numbers)}"


class MemoryTransport(BaseTransport):
    """Connects peers of one MemoryNetwork; see `channel.Transport`."""

    def __init__(self, network: MemoryNetwork, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        super().__init__(connect_timeout_s=connect_timeout_s, new_session=network.new_session)
        self._network = network

    def _connect(self, session: Session) -> Connection:
        return _MemoryConnection(self._network, session)

    def vanish(self) -> None:
        """Be dead from now on, like a machine without power: nothing arrives, nothing leaves, nobody is told."""
        self._closed = True
        for session in list(self._sessions.values()):
            if isinstance(session.channel, MemoryChannel):
                session.channel.vanish()
            self.abandon(session.remote, session.identifier)


class MemoryChannel(BaseChannel):
    """One end of a link in memory."""

    def __init__(self, network: MemoryNetwork, remote: str, release: Callable[..., None], *, outgoing: bool) -> None:
        super().__init__(remote, outgoing=outgoing, loop=asyncio.get_running_loop())
        self._network = network
        self._release_session = release
        self._other: MemoryChannel | None = None
        # Frames of this end that are on their way, and those that wait because the link is paused.
        self._travelling_bytes = 0
        self._travelling = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._vanished = False

    def attach(self, other: MemoryChannel) -> None:
        """Make this end send to the other."""
        self._other = other

    @property
    def buffered_amount(self) -> int:
        """Bytes given to send() that the other end has not received yet."""
        return self._travelling_bytes + self._waiting_bytes

    def pause(self) -> None:
        """Let frames sent by this end wait, as on a congested link."""
        self._paused = True

    def resume(self) -> None:
        """Let the waiting frames go, in order."""
        self._paused = False
        while self._waiting:
            frame = self._waiting.popleft()
            self._waiting_bytes -= len(frame)
            self._depart(frame)

    def vanish(self) -> None:
        """Be dead: drop what arrives and what is on its way from here, silently."""
        self._vanished = True

    def _transmit(self, frame: bytes) -> None:
        if self._other is None:
            raise ChannelClosed("the link is not attached")
        if self._paused:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)
        else:
            self._depart(frame)

    def _depart(self, frame: bytes) -> None:
        network = self._network
        # Four draws a frame, whatever their outcomes: a changed probability leaves the other faults where they were.
        drop, duplicate, reorder, reorder_copy = (network.rng.random() for _ in range(4))
        dropped = drop < network.faults.drop
        network.frames_dropped += dropped
        self._travel(frame, reordered=reorder < network.faults.reorder, arrives=not dropped)
        if duplicate < network.faults.duplicate and not dropped:
            network.frames_duplicated += 1
            self._travel(frame, reordered=reorder_copy < network.faults.reorder, arrives=True)

    def _travel(self, frame: bytes, *, reordered: bool, arrives: bool) -> None:
        self._network.frames_reordered += reordered
        self._travelling += 1
        self._travelling_bytes += len(frame)
        self._turn(frame, 1 + REORDER_TURNS * reordered, arrives)

    def _turn(self, frame: bytes, turns: int, arrives: bool) -> None:
        if turns > 0:
            self._loop.call_soon(self._turn, frame, turns - 1, arrives)
            return
        self._travelling -= 1
        self._travelling_bytes -= len(frame)
        if arrives and self._other is not None and not self._vanished and not self._other._vanished:
            self._other.receive(frame)
        self.drained()

    def _release(self, *, flush: bool) -> None:
        if flush:
            self.resume()
        else:
            self._waiting.clear()
            self._waiting_bytes = 0
        self._loop.call_soon(self._tell_other)
        self._release_session(flush=flush)

    def _tell_other(self) -> None:
        """End the other end when the last frame has arrived."""
        if self._travelling:
            self._loop.call_soon(self._tell_other)
        elif self._other is not None and not self._vanished and not self._other._vanished:
            self._other.end("the other side closed the link")


class _MemoryConnection(Connection):
    """A connection that opens as soon as both descriptions are known."""

    def __init__(self, network: MemoryNetwork, session: Session) -> None:
        self._network = network
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._other: _MemoryConnection | None = None
        self._closed = False

    async def create_offer(self) -> str:
        return self._network.describe(self)

    async def create_answer(self, offer: str) -> str:
        self._other = self._network.find(offer)
        return self._network.describe(self)

    async def accept_answer(self, answer: str) -> None:
        self._other = self._network.find(answer)
        if self._other._other is not self:
            raise MalformedMessage("the answer is to another offer")
        self._loop.call_soon(self._open)

    async def add_candidate(self, candidate: str) -> None:
        """Know the address already."""

    async def close(self, *, flush: bool) -> None:
        self._closed = True
        self._network.forget(self)

    def _open(self) -> None:
        other = self._other
        if other is None or self._closed or other._closed:
            return
        here = MemoryChannel(self._network, self._session.remote, self._session.release, outgoing=self._session.outgoing)
        there = MemoryChannel(self._network, other._session.remote, other._session.release, outgoing=other._session.outgoing)
        here.attach(there)
        there.attach(here)
        other._session.opened(there)
        self._session.opened(here)


def _nothing(*, flush: bool) -> None:
    """Release nothing: a pair has no transport."""
