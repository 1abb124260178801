"""What a peer asks its driver to do, in the order of the list that `Peer.handle` returns."""

from __future__ import annotations

from dataclasses import dataclass

from meshlearn.wire.messages import Reason
from meshlearn.wire.quantise import Floats


@dataclass(frozen=True, slots=True)
class Introduce:
    """Ask the signaling server for up to `count` random peers of the run; answer with `Introduced`."""

    count: int


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a link to a peer; answer with `LinkOpened` or `ConnectFailed`."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send the frames of one message, in order."""

    link: int
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close a link after what has been sent on it; `LinkClosed` may follow and is ignored."""

    link: int
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is there: training may begin."""

    pulled: bool
    """Whether it came from peers; False where the run's initial vector is the model."""


@dataclass(frozen=True, slots=True)
class Averaged:
    """A slice has been averaged with a peer, on this side."""

    link: int
    peer: bytes
    slice_index: int
    exchange_id: int
    weight: float
    """How far this side has gone towards the other, 0..1."""
    clipped: bool
    change_norm: float


@dataclass(frozen=True, slots=True)
class ModelPulled:
    """A tracker has pulled the whole displacement of a peer."""

    peer: bytes
    displacement: Floats
    age: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Something from a link was not taken; `text` says why. For logs and traces."""

    link: int
    peer: bytes
    text: str


Action = Introduce | Connect | Send | CloseLink | Ready | Averaged | ModelPulled | Refused
