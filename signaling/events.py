"""What goes into :class:`~signaling.rooms.Rooms` and what comes out.

A connection is an integer that the driver chooses and never uses twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from signaling.messages import ClientMessage, Code, Evaluation, Join, Kind, Role, ServerMessage, State

# --- events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """A client has connected from `address`; `nonce` (32 random bytes) is its challenge."""

    connection: int
    address: str
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A client sent a text frame (str), a binary frame (bytes), or, in a simulation, a message."""

    connection: int
    data: str | bytes | ClientMessage


@dataclass(frozen=True, slots=True)
class Pinged:
    """A client sent a ping or a pong, which costs it as much as a message; without actions, a ping is answered."""

    connection: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """The answer to Authenticate: token and proof are good."""

    connection: int
    run: str
    peer: str
    kind: Kind
    role: Role = "member"
    state: State = "open"


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to Authenticate: the join is refused with this code."""

    connection: int
    code: Code


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, whoever ended it."""

    connection: int


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that deadline() named has come."""


Event: TypeAlias = Connected | Received | Pinged | Admitted | Refused | Disconnected | Tick

# --- actions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send one message to these connections, in this order."""

    connections: tuple[int, ...]
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection; nothing is sent to it any more, and Rooms has forgotten it."""

    connection: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Check token and proof of a join against `nonce`, then answer with Admitted or Refused."""

    connection: int
    join: Join
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """Append an evaluation to the history of a run; `connection` is told where that fails."""

    connection: int
    run: str
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class End:
    """Write down that a run is over; `connection` is told where that fails."""

    connection: int
    run: str
    reason: str


Action: TypeAlias = Send | Close | Authenticate | Record | End
