"""What can happen to a peer; the driver hands these to `Peer.handle` with the time.

Links are numbered by the driver, never twice in one process. Peers are named by their 32-byte public key.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """The driver is connected to the signaling server for the first time."""


@dataclass(frozen=True, slots=True)
class Introduced:
    """The signaling server has named peers of the run; nobody, where this peer is alone."""

    peers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """A `Connect` did not lead to a link."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """A data channel is open; its other end has proved to be `peer`."""

    link: int
    peer: bytes
    outgoing: bool
    """Whether this side made the offer."""


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """A data channel is gone, whoever closed it."""

    link: int


@dataclass(frozen=True, slots=True)
class Received:
    """A frame has come over a link."""

    link: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Congested:
    """More than 1 MiB waits to be sent on a link."""

    link: int


@dataclass(frozen=True, slots=True)
class Drained:
    """The link takes frames again."""

    link: int


@dataclass(frozen=True, slots=True)
class Stepped:
    """The trainer has added this many gradient steps to the replica's vector since the last such event."""

    steps: int
    samples: int


@dataclass(frozen=True, slots=True)
class Tick:
    """`Peer.deadline` has been reached."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The peer is to say goodbye and close its links."""


Event = Started | Introduced | ConnectFailed | LinkOpened | LinkClosed | Received | Congested | Drained | Stepped | Tick | Leave
