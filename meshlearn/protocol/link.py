"""What a peer knows of one link: greeting, liveness, frames, and the exchange that is under way on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from meshlearn.protocol.tokens import Allowance
from meshlearn.wire.codec import Codec
from meshlearn.wire.frames import Reassembler
from meshlearn.wire.messages import PeerKind
from meshlearn.wire.quantise import Floats


@dataclass(slots=True)
class Outstanding:
    """An exchange that this side began and that is not answered yet."""

    exchange_id: int
    attempt: int
    codec: Codec
    slice_index: int
    age: int
    rounded: Floats
    """The own slice as the other side decodes it, float32 [n]: the reference of the answer."""
    message: bytes
    sent_at: float
    resends: int = 0


@dataclass(slots=True)
class Served:
    """The last exchange that this side answered, so that a repeat gets the same bytes and changes nothing."""

    exchange_id: int
    attempt: int
    message: bytes


class Link:
    """State of one link; `Peer` is the only one that writes it."""

    __slots__ = (
        "age",
        "allowance",
        "asked_at",
        "congested",
        "echo_at",
        "echo_ms",
        "greeted",
        "heard_at",
        "kind",
        "messages_sent",
        "number",
        "offences",
        "opened_at",
        "outgoing",
        "outstanding",
        "peer",
        "reassembler",
        "round_trip_s",
        "samples_per_second",
        "served",
        "steps",
    )

    def __init__(self, number: int, peer: bytes, outgoing: bool, now: float) -> None:
        self.number = number
        self.peer = peer
        self.outgoing = outgoing
        self.opened_at = now
        self.asked_at = -math.inf
        """When the other side last asked for a slice of the model."""
        self.greeted = False
        self.kind = PeerKind.PYTHON
        self.age = 0
        """The oldest slice of the other side, by its last word."""
        self.steps = 0
        self.samples_per_second = 0.0
        self.heard_at = now
        """When the last valid message came."""
        self.echo_ms = 0
        self.echo_at = now
        self.round_trip_s: float | None = None
        self.congested = False
        self.offences = 0.0
        self.allowance = Allowance(now)
        self.messages_sent = 0
        self.reassembler = Reassembler()
        self.outstanding: Outstanding | None = None
        self.served: Served | None = None

    @property
    def averages(self) -> bool:
        """Whether an exchange may be begun on the link now."""
        return self.greeted and not self.congested and self.outstanding is None and self.kind is not PeerKind.TRACKER


@dataclass(slots=True)
class Counters:
    """What a peer has done since it started; bytes are those of frames."""

    bytes_in: int = 0
    bytes_out: int = 0
    frames_discarded: int = 0
    """Frames that did not make a message: out of order, or of a link that is gone."""
    messages_refused: int = 0
    """Messages that were malformed, of another run or version, or that broke a rule."""
    exchanges_begun: int = 0
    exchanges_accepted: int = 0
    """Exchanges that changed a slice on this side, begun by either side."""
    exchanges_retried: int = 0
    """Requests of this side that were repeated with a wider range or another codec."""
    exchanges_resent: int = 0
    """Requests of this side that were sent again because no answer came."""
    exchanges_refused: int = 0
    """Slices that this side did not admit."""
    exchanges_declined: int = 0
    """Requests of this side that the other one declined: busy, not ready, or not admitted."""
    exchanges_abandoned: int = 0
    """Requests of this side that were never answered."""
    exchanges_repeated: int = 0
    """Requests that came again and were answered with the same bytes, or not at all where they were too old."""
    exchanges_clipped: int = 0
    wrong_decodes: int = 0
    """Slices whose checksum did not fit after decoding; none of them is applied."""
    slices_pulled: int = 0
    slices_served: int = 0
    links_opened: int = 0
    links_lost: int = 0
    links_replaced: int = 0
    """Links that this side gave up for others; `links_lost` counts them, too."""
