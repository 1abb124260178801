"""What the tests of links share: two transports of any kind, joined to each other without a server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshlearn.runtime.aiortc_channel import AiortcTransport
from meshlearn.runtime.channel import BaseChannel, Channel
from meshlearn.runtime.memory_channel import MemoryNetwork
from meshlearn.runtime.transport import CONNECT_TIMEOUT_S, BaseTransport
from meshlearn.runtime.wrtc_channel import WrtcTransport

KINDS = ("memory", "aiortc", "wrtc", "aiortc to wrtc", "wrtc to aiortc")


def make_transport(kind: str, network: MemoryNetwork, connect_timeout_s: float) -> BaseTransport:
    if kind == "memory":
        return network.transport(connect_timeout_s=connect_timeout_s)
    if kind == "aiortc":
        return AiortcTransport(connect_timeout_s=connect_timeout_s)
    pytest.importorskip("webrtc", reason="wrtc is optional")
    return WrtcTransport(include_loopback=True, connect_timeout_s=connect_timeout_s)


@contextlib.asynccontextmanager
async def two_transports(
    kind: str, connect_timeout_s: float = CONNECT_TIMEOUT_S
) -> AsyncIterator[tuple[BaseTransport, BaseTransport]]:
    """Transports of peers "alice" and "bob", closed in the end."""
    network = MemoryNetwork(random.Random(1))
    kinds = kind.split(" to ")
    transports = [make_transport(each, network, connect_timeout_s) for each in (kinds[0], kinds[-1])]
    try:
        yield transports[0], transports[1]
    finally:
        for transport in transports:
            await transport.close()


async def connect(alice: BaseTransport, bob: BaseTransport) -> tuple[Any, Any]:
    """Join two transports by passing their descriptions on; return alice's and bob's ends of the link."""
    loop = asyncio.get_running_loop()
    here: asyncio.Future[Channel] = loop.create_future()
    there: asyncio.Future[Channel] = loop.create_future()
    alice.on_opened(here.set_result)
    bob.on_opened(there.set_result)
    session, offer = await alice.offer("bob")
    await alice.accept_answer("bob", session, await bob.accept_offer("alice", session, offer))
    return await here, await there


class Listener:
    """Hears everything that a channel says."""

    def __init__(self, channel: BaseChannel) -> None:
        self.frames: list[bytes] = []
        self.reasons: list[str] = []
        self.drained = asyncio.Event()
        self._changed = asyncio.Event()
        channel.on_frame(self._on_frame)
        channel.on_drained(self.drained.set)
        channel.on_closed(self._on_closed)

    async def until_frames(self, count: int) -> list[bytes]:
        while len(self.frames) < count:
            await self._change()
        return self.frames

    async def until_closed(self) -> str:
        while not self.reasons:
            await self._change()
        return self.reasons[0]

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _on_frame(self, frame: bytes) -> None:
        self.frames.append(frame)
        self._changed.set()

    def _on_closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()
