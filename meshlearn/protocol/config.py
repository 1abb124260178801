"""The settings of one peer: what the run fixes for everybody, and what the peer is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from meshlearn.errors import SettingsError
from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import PeerKind


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """Settings of `Peer`; times in seconds. Raises SettingsError where one is out of its range."""

    peer_id: bytes
    run_tag: bytes
    kind: PeerKind = PeerKind.PYTHON
    agent: str = "meshlearn"
    codec: Codec = Codec.MODULAR8
    pull_codec: Codec = Codec.LINEAR8
    exchange_interval_s: float = 0.1
    """Mean time between two exchanges that this peer begins; each pause is uniform in half to one and a half of it."""
    view_size: int = 8
    """Links that the peer opens of itself; it accepts twice as many."""
    token_capacity: int = 10
    token_grant: float = 0.1
    """Tokens that time alone gives back at each tick of the exchange clock."""
    heartbeat_interval_s: float = 2.0
    link_timeout_s: float = 8.0
    exchange_timeout_s: float = 4.0
    exchange_resends_max: int = 2
    connect_timeout_s: float = 20.0
    join_timeout_s: float = 15.0
    """How long a newcomer waits for somebody to pull the model from before it starts from the initial vector."""
    pull_timeout_s: float = 6.0
    introduce_interval_s: float = 5.0
    refresh_interval_s: float = 60.0
    """Mean time after which one link of a full view is replaced by another, uniform in half to one and a half of it; 0: never."""
    evaluation_interval_s: float = 2.0
    """How often a tracker pulls the models of its view."""
    offences_max: int = 5
    clip_factor: float = 4.0
    norm_factor: float = 2.0

    def __post_init__(self) -> None:
        if len(self.peer_id) != 32 or len(self.run_tag) != 8:
            raise SettingsError("a peer id is 32 bytes and a run tag 8")
        if not 1 <= self.view_size <= 64:
            raise SettingsError(f"view_size is {self.view_size}; give a number of links from 1 to 64")
        if not self.exchange_interval_s > 0:
            raise SettingsError("exchange_interval_s must be more than 0 seconds")
        if not 0 <= self.refresh_interval_s < math.inf:
            raise SettingsError("refresh_interval_s must be a number of seconds, or 0 for never")
        if self.pull_codec.is_modular:
            raise SettingsError("pull_codec must be an absolute codec: float32, float16, linear8 or dynamic8")
        if not 0 < self.heartbeat_interval_s < self.link_timeout_s:
            raise SettingsError("link_timeout_s must be longer than heartbeat_interval_s")

    @property
    def trains(self) -> bool:
        """Whether the peer takes part in averaging; a tracker only listens."""
        return self.kind is not PeerKind.TRACKER

    @property
    def links_max(self) -> int:
        """Links the peer holds at most, opened by it or by others."""
        return 2 * self.view_size

    @property
    def codecs_bitmap(self) -> int:
        """Bit c is set where this side decodes codec c: all of them."""
        return sum(1 << codec for codec in Codec)


def slice_length_for(parameter_count: int, slices: int = 8) -> int:
    """Return the slice length that cuts a vector into about `slices` slices of whole blocks, within the limits."""
    block = limits.MODULAR_BLOCK_VALUES
    length = -(-parameter_count // slices)
    return min(-(-length // block) * block, limits.SLICE_VALUES_MAX)
