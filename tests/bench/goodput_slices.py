"""The whole stack as traffic of a link: a tracker's peer pulls the slices of another peer, over and over.

Frames, messages, codec and the sans-IO peer are the real ones; what carries them is the channel that is measured.
"""

from __future__ import annotations

import asyncio

import numpy as np

from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import Pairwise
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, Channel, ChannelClosed
from meshlearn.wire.codec import Codec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind

PARAMETERS = 1_048_576
SLICE_LENGTH = 131_072
_SENDER, _RECEIVER = b"s" * 32, b"r" * 32


class Slices:
    """Sender: a peer with a model. Receiver: a tracker that surveys it without a pause."""

    def _peer(self, kind: PeerKind) -> Peer:
        tracker = kind is PeerKind.TRACKER
        config = PeerConfig(
            _RECEIVER if tracker else _SENDER,
            b"goodput!",
            kind=kind,
            pull_codec=Codec.LINEAR8,
            evaluation_interval_s=1e-6,
            pull_timeout_s=60.0,
        )
        initial = np.zeros(PARAMETERS, np.float32)
        vector = np.random.Generator(np.random.PCG64(1)).standard_normal(PARAMETERS, np.float32) * np.float32(0.05)
        replica = Replica(initial, SLICE_LENGTH, initial.copy() if tracker else vector)
        return Peer(config, replica, Pairwise(), Generator(1), 0.0)

    def _drive(self, peer: Peer, channel: Channel, remote: bytes, outgoing: bool) -> None:
        loop = asyncio.get_running_loop()
        congested = False

        def handle(event: events.Event) -> None:
            nonlocal congested
            for action in peer.handle(event, loop.time()):
                if isinstance(action, actions.Send):
                    try:
                        for frame in action.frames:
                            channel.send(frame)
                    except ChannelClosed:
                        return
                    if channel.buffered_amount > BUFFERED_BYTES_HIGH and not congested:
                        congested = True
                        loop.call_soon(handle, events.Congested(1))

        def drained() -> None:
            nonlocal congested
            congested = False
            handle(events.Drained(1))

        channel.on_drained(drained)
        handle(events.Started())
        handle(events.Introduced(()))
        if peer.config.trains:
            handle(events.Stepped(1_000, 1_000))
        handle(events.LinkOpened(1, remote, outgoing))
        channel.on_frame(lambda frame: handle(events.Received(1, frame)))

    async def send(self, channel: Channel, size: int) -> None:
        """Answer pulls; whoever measures waits for the receiver's word."""
        self._drive(self._peer(PeerKind.PYTHON), channel, _RECEIVER, True)

    async def receive(self, channel: Channel, size: int) -> int:
        """Pull until `size` bytes of frames have come."""
        self._drive(self._peer(PeerKind.TRACKER), channel, _SENDER, False)
        while channel.bytes_in < size:
            await asyncio.sleep(0.002)
        return channel.bytes_in
