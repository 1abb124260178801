"""The signaling server under load: relayed messages per CPU-second, and the memory of a client that waits.

The clients are bare sockets in this process, so that the server's own CPU time is measured, not theirs. Beside it runs a
plain relay on the same libraries without any checks, which tells what the checks cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, cast

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signaling.fields import from_base64url, to_base64url
from signaling.identity import join_text
from signaling.registry import CreatedRun
from tests.bench.figures import Figure, ratio
from tests.signaling.support import new_run

_ROOT: Final = Path(__file__).resolve().parents[2]
_MESSAGE_BYTES: Final = 600
# Under the burst of 200 that one peer may send.
_MESSAGES_EACH: Final = 180
_IN_FLIGHT: Final = 4
# Plain aiohttp and plain aiohttp with an idle connection, on the 2-core machine on which the limits were set.
_MESSAGES_PER_CPU_S_MIN: Final = 34_200.0
_IDLE_BYTES_MAX: Final = 14_500.0
# The same, as shares of what the plain relay (aiohttp on uvloop) did there: 34,200 of 64,900, and a tenth for the identity,
# the room and the limits of each client.
_SHARE_MIN: Final = 0.527
_MEMORY_SHARE_MAX: Final = 1.1
_ROUNDS: Final = 3
_TIMEOUT_S: Final = 300.0


class Server:
    """A server in a process of its own."""

    def __init__(self, kind: str, directory: Path) -> None:
        command = [sys.executable, "-m", "tests.bench.signaling_servers", kind, str(directory)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    async def ask(self, question: str) -> float:
        """Ask the process for its "cpu" seconds or the bytes of its "memory"."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return float(await asyncio.to_thread(self._readline))

    def _readline(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()


class Client(asyncio.Protocol):
    """A WebSocket client with no more than this benchmark needs: short frames, masked with zeros."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.buffer = b""
        self.upgraded = False
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.frame = b""
        self.left = 0
        self.received = 0
        self.expected = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self.transport = cast(asyncio.Transport, transport)
        address = f"10.{self.number >> 16}.{self.number >> 8 & 255}.{self.number & 255}"
        self.transport.write(
            b"GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: " + address.encode() + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.upgraded:
            _, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            self.upgraded, self.buffer = True, rest
        while len(self.buffer) >= 4:
            short = self.buffer[1]
            head, length = (2, short) if short < 126 else (4, int.from_bytes(self.buffer[2:4], "big"))
            if len(self.buffer) < head + length:
                return
            payload, self.buffer = self.buffer[head : head + length], self.buffer[head + length :]
            self.take(payload)

    def take(self, payload: bytes) -> None:
        if not self.expected:
            self.inbox.put_nowait(json.loads(payload))
            return
        self.received += 1
        if self.left:
            self.left -= 1
            self.transport.write(self.frame)
        if self.received == self.expected:
            self.done.set_result(None)

    def send(self, message: dict[str, Any]) -> None:
        self.transport.write(masked(json.dumps(message).encode()))

    def prepare(self, message: dict[str, Any]) -> None:
        """Make ready to send and to receive _MESSAGES_EACH messages."""
        self.frame = masked(json.dumps(message).encode())
        self.left, self.expected = _MESSAGES_EACH - _IN_FLIGHT, _MESSAGES_EACH


def masked(payload: bytes) -> bytes:
    """Put a text into a frame whose mask is zero."""
    length = struct.pack("!BH", 0xFE, len(payload)) if len(payload) > 125 else bytes([0x80 | len(payload)])
    return b"\x81" + length + bytes(4) + payload


@contextlib.asynccontextmanager
async def clients(server: Server, count: int, run: CreatedRun | None) -> AsyncIterator[tuple[list[Client], list[str]]]:
    """Connect and join; give the clients with their names."""
    loop = asyncio.get_running_loop()
    made: list[Client] = []
    names: list[str] = []
    for number in range(count):
        _, client = await loop.create_connection(lambda number=number: Client(number), "127.0.0.1", server.port)
        made.append(client)
        if run is None:
            names.append(str(number))
            client.send({"name": names[-1]})
        else:
            key = Ed25519PrivateKey.generate()
            names.append(to_base64url(key.public_key().public_bytes_raw()))
            nonce = from_base64url((await client.inbox.get())["nonce"], 32)
            proof = to_base64url(key.sign(join_text(run.run, nonce)))
            fields = {"run": run.run, "token": run.join_token, "peer": names[-1], "kind": "python", "proof": proof}
            client.send({"type": "join", **fields})
        reply = await client.inbox.get()
        assert reply.get("type") != "error", reply
    try:
        yield made, names
    finally:
        for client in made:
            client.transport.abort()


async def relayed_per_cpu_second(server: Server, count: int, run: CreatedRun | None) -> float:
    """Let `count` clients send to each other in pairs; give messages per CPU-second of the server."""
    async with clients(server, count, run) as (made, names):
        for number, client in enumerate(made):
            fields = {"type": "offer", "to": names[number ^ 1], "session": "s", "signature": "A" * 86}
            padding = _MESSAGE_BYTES - len(json.dumps({**fields, "sdp": ""}))
            client.prepare({**fields, "sdp": "x" * padding})
        before = await server.ask("cpu")
        for client in made:
            client.transport.write(client.frame * _IN_FLIGHT)
        await asyncio.gather(*(client.done for client in made))
        after = await server.ask("cpu")
    return count * _MESSAGES_EACH / (after - before)


async def idle_bytes(server: Server, count: int, run: CreatedRun | None) -> float:
    """Give the server's resident bytes for each of `count` joined clients that wait."""
    async with clients(server, count // 4, run):
        before = await server.ask("memory")
        async with clients(server, count, run):
            after = await server.ask("memory")
    return (after - before) / count


async def measure(short: bool) -> list[Figure]:
    """Measure both servers in turns, so that both meet the same disturbances."""
    busy, idle = (100, 200) if short else (2000, 2000)
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    sizes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder))
        for round_ in range(1 if short else _ROUNDS):
            for kind, measured in speeds.items():
                server = Server(kind, Path(folder))
                try:
                    # Memory first, in a process that has not been busy yet.
                    if round_ == 0:
                        sizes[kind] = await idle_bytes(server, idle, run if kind == "ours" else None)
                    measured.append(await relayed_per_cpu_second(server, busy, run if kind == "ours" else None))
                finally:
                    server.stop()
    ours, plain = max(speeds["ours"]), max(speeds["plain"])
    relay, waiting = f"plain relay, now {plain:,.0f} 1/CPU-s", f"plain relay, now {sizes['plain']:,.0f} B"
    once = "plain aiohttp, measured once"
    share = "relayed messages, share of a plain relay"
    return [
        Figure("relayed messages", ours, "1/CPU-s", _MESSAGES_PER_CPU_S_MIN, "higher", once),
        ratio(share, ours, plain, _SHARE_MIN, "higher", relay),
        Figure("memory of an idle peer", sizes["ours"], "B", _IDLE_BYTES_MAX, "lower", once),
        ratio("memory of an idle peer, in plain ones", sizes["ours"], sizes["plain"], _MEMORY_SHARE_MAX, "lower", waiting),
    ]


def run(short: bool) -> list[Figure]:
    """Measure; `short` only shows that it works."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(measure(short), _TIMEOUT_S))
