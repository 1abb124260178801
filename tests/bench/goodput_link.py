"""One end of a link whose goodput is measured, as a process: `python -m tests.bench.goodput_link`.

It reads one task a line from its standard input and writes one answer a line to its standard output, both JSON, and ends
with its input. The two ends find each other over a TCP connection on loopback, which also carries the raw TCP measurement.

    {"role": "receive", "carrier": "aiortc", "loop": "uvloop", "traffic": "frames", "bytes": 1000000}
    -> {"port": 40000}, then {"bytes": 1000000}
    {"role": "send", ..., "port": 40000}
    -> {"seconds": 0.06}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from meshlearn.runtime.aiortc_channel import AiortcTransport, set_up_gathering
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, FRAME_BYTES_MAX, Channel
from meshlearn.runtime.transport import BaseTransport
from meshlearn.runtime.wrtc_channel import WrtcTransport
from tests.bench.goodput_slices import Slices

_FRAME: Final = bytes(range(256)) * (FRAME_BYTES_MAX // 256)


class Traffic(Protocol):
    """What is sent over a channel: the sender's part, and the receiver's, which returns the useful bytes that came."""

    async def send(self, channel: Channel, size: int) -> None:
        """Send `size` useful bytes, keeping to the backpressure of the channel."""

    async def receive(self, channel: Channel, size: int) -> int:
        """Return when `size` useful bytes have come."""


class Frames:
    """Full frames of nothing in particular: what the channel itself can carry."""

    async def send(self, channel: Channel, size: int) -> None:
        """Send full frames."""
        drained = asyncio.Event()
        channel.on_drained(drained.set)
        for _ in range(size // FRAME_BYTES_MAX):
            while channel.buffered_amount > BUFFERED_BYTES_HIGH:
                drained.clear()
                if channel.buffered_amount > BUFFERED_BYTES_HIGH:
                    await drained.wait()
            channel.send(_FRAME)

    async def receive(self, channel: Channel, size: int) -> int:
        """Count frames."""
        complete = asyncio.Event()

        def count(_frame: bytes) -> None:
            if channel.bytes_in >= size:
                complete.set()

        channel.on_frame(count)
        await complete.wait()
        return channel.bytes_in


# A variant in bench_goodput measures what a layer above the channel makes of it.
TRAFFIC: Final[dict[str, Callable[[], Traffic]]] = {"frames": Frames, "slices": Slices}


class Carrier(ABC):
    """Carries the bytes of one measurement between two processes that have a TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic, size: int) -> None:
        self.reader = reader
        self.writer = writer
        self.traffic = traffic
        self.size = size // FRAME_BYTES_MAX * FRAME_BYTES_MAX

    @abstractmethod
    async def send(self) -> float:
        """Send everything; return the seconds until the other side has it."""

    @abstractmethod
    async def receive(self) -> int:
        """Receive everything, tell the other side, and return the bytes."""

    def say(self, **message: Any) -> None:
        """Send a line to the other process."""
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        """Return the next line of the other process."""
        line = await self.reader.readline()
        message: dict[str, Any] = json.loads(line)
        return message


class TcpCarrier(Carrier):
    """The TCP connection itself: what the machine and the loop can do."""

    async def send(self) -> float:
        """Write frames; see Carrier."""
        start = time.perf_counter()
        for _ in range(self.size // FRAME_BYTES_MAX):
            self.writer.write(_FRAME)
            await self.writer.drain()
        await self.hear()
        return time.perf_counter() - start

    async def receive(self) -> int:
        """Read whatever comes; see Carrier."""
        received = 0
        while received < self.size:
            received += len(await self.reader.read(1 << 18))
        self.say(done=True)
        return received


class BareAiortcCarrier(Carrier):
    """aiortc as its examples use it, without our channel around it: what the channel is measured against."""

    async def send(self) -> float:
        """Send over a bare RTCDataChannel; see Carrier."""
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        channel = connection.createDataChannel("bare")
        opened, low = asyncio.Event(), asyncio.Event()
        channel.on("open", opened.set)
        channel.bufferedAmountLowThreshold = BUFFERED_BYTES_HIGH
        channel.on("bufferedamountlow", low.set)
        set_up_gathering(connection, include_loopback=None)
        await connection.setLocalDescription()
        self.say(sdp=connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription((await self.hear())["sdp"], "answer"))
        await opened.wait()
        start = time.perf_counter()
        for _ in range(self.size // FRAME_BYTES_MAX):
            while channel.bufferedAmount > BUFFERED_BYTES_HIGH:
                low.clear()
                if channel.bufferedAmount > BUFFERED_BYTES_HIGH:
                    await low.wait()
            channel.send(_FRAME)
        await self.hear()
        seconds = time.perf_counter() - start
        await connection.close()
        return seconds

    async def receive(self) -> int:
        """Receive over a bare RTCDataChannel; see Carrier."""
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        received = 0
        complete = asyncio.Event()

        def count(frame: bytes) -> None:
            nonlocal received
            received += len(frame)
            if received >= self.size:
                complete.set()

        def announced(channel: RTCDataChannel) -> None:
            channel.on("message", count)

        connection.on("datachannel", announced)
        await connection.setRemoteDescription(RTCSessionDescription((await self.hear())["sdp"], "offer"))
        set_up_gathering(connection, include_loopback=None)
        await connection.setLocalDescription()
        self.say(sdp=connection.localDescription.sdp)
        await complete.wait()
        self.say(done=True)
        await self.reader.read()
        await connection.close()
        return received


class ChannelCarrier(Carrier):
    """A channel of one of our transports."""

    @abstractmethod
    def make_transport(self) -> BaseTransport:
        """Return the transport."""

    def next_channel(self, transport: BaseTransport) -> asyncio.Future[Channel]:
        """Return a future of the channel that the transport opens; it raises where none opens."""
        channel: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        transport.on_opened(channel.set_result)
        transport.on_failed(lambda _remote, reason: channel.set_exception(RuntimeError(reason)))
        return channel

    async def send(self) -> float:
        """Offer, send the traffic; see Carrier."""
        transport = self.make_transport()
        channel = self.next_channel(transport)
        session, sdp = await transport.offer("receiver")
        self.say(session=session, sdp=sdp)
        await transport.accept_answer("receiver", session, (await self.hear())["sdp"])
        link = await channel
        start = time.perf_counter()
        await self.traffic.send(link, self.size)
        await self.hear()
        seconds = time.perf_counter() - start
        await transport.close()
        return seconds

    async def receive(self) -> int:
        """Answer, receive the traffic; see Carrier."""
        transport = self.make_transport()
        channel = self.next_channel(transport)
        offer = await self.hear()
        self.say(sdp=await transport.accept_offer("sender", offer["session"], offer["sdp"]))
        received = await self.traffic.receive(await channel, self.size)
        self.say(done=True)
        await self.reader.read()
        await transport.close()
        return received


class AiortcCarrier(ChannelCarrier):
    """A channel over aiortc."""

    def make_transport(self) -> BaseTransport:
        """Return the default transport."""
        return AiortcTransport()


class WrtcCarrier(ChannelCarrier):
    """A channel over libwebrtc."""

    def make_transport(self) -> BaseTransport:
        """Return the fast transport."""
        return WrtcTransport(include_loopback=True)


CARRIERS: Final[dict[str, type[Carrier]]] = {
    "tcp": TcpCarrier,
    "bare aiortc": BareAiortcCarrier,
    "aiortc": AiortcCarrier,
    "wrtc": WrtcCarrier,
}


async def perform(task: dict[str, Any]) -> None:
    """Do one task and print what came of it."""

    def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Carrier:
        return CARRIERS[task["carrier"]](reader, writer, TRAFFIC[task["traffic"]](), task["bytes"])

    if task["role"] == "send":
        reader, writer = await asyncio.open_connection("127.0.0.1", task["port"])
        answer({"seconds": await carrier(reader, writer).send()})
        writer.close()
        return
    received: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received.set_result(await carrier(reader, writer).receive())
        except Exception as error:
            received.set_exception(error)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    answer({"port": server.sockets[0].getsockname()[1]})
    answer({"bytes": await received})
    server.close()


def answer(result: dict[str, Any]) -> None:
    """Print one line."""
    print(json.dumps(result), flush=True)


def run_on(loop: str, work: Awaitable[None]) -> None:
    """Run a coroutine on a fresh event loop of this kind."""

    async def main() -> None:
        await work

    if loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    else:
        asyncio.run(main())


if __name__ == "__main__":
    for line in sys.stdin:
        given = json.loads(line)
        run_on(given["loop"], perform(given))
