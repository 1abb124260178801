"""A run to serve, a server to ask, and a client that speaks the protocol; shared by the tests of this directory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signaling.driver import SignalingServer
from signaling.fields import from_base64url, to_base64url
from signaling.identity import join_text
from signaling.page import PAGE_DIRECTORY
from signaling.registry import CreatedRun, Registry, create_run

SHARDS = tuple(f"shard number {index} ".encode() * 100 for index in range(3))
INITIAL = b"\x08\x00\x00\x00\x00\x00\x00\x00{}      " + bytes(64)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest as the owner of a run writes it, without what the server fills in."""
    described = [{"sha256": sha256(data), "bytes": len(data), "examples": 100} for data in SHARDS]
    return {
        "title": "Handwritten digits",
        "description": "A small network learns to read digits.",
        "by": "A test",
        "created": "2025-06-01T12:00:00+00:00",
        "model": {
            "format": 1,
            "input": [28, 28, 1],
            "layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 10}],
            "loss": "softmax_cross_entropy",
        },
        "parameters": 7850,
        "settings": {"seed": 1, "codec": "modular8", "goal_accuracy": 0.9},
        "data": {
            "name": "Digits",
            "license": "CC BY 4.0",
            "classes": 10,
            "shards": described[:2],
            "test": described[2],
        },
        **changes,
    }


def new_run(state_dir: Path, **changes: Any) -> CreatedRun:
    return create_run(state_dir, manifest(**changes), INITIAL, {sha256(data): data for data in SHARDS})


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """One WebSocket to the server, with a key of its own."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, key: Ed25519PrivateKey) -> None:
        self.ws = ws
        self.key = key
        self.peer = to_base64url(key.public_key().public_bytes_raw())
        self.nonce = b""

    async def challenged(self) -> bytes:
        message = await self.receive()
        assert message["type"] == "challenge"
        self.nonce = from_base64url(message["nonce"], 32)
        return self.nonce

    def join_message(self, run: str, token: str, **changes: Any) -> dict[str, Any]:
        proof = to_base64url(self.key.sign(join_text(run, self.nonce)))
        fields = {"run": run, "token": token, "peer": self.peer, "kind": "python", "agent": "test/1", "proof": proof}
        return {"type": "join", **fields, **changes}

    async def join(self, run: str, token: str, **changes: Any) -> dict[str, Any]:
        """Answer the challenge and give the server's reply, welcome or error."""
        await self.challenged()
        await self.send(self.join_message(run, token, **changes))
        return await self.receive()

    async def send(self, message: dict[str, Any]) -> None:
        await self.ws.send_str(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            frame = await self.ws.receive()
        assert frame.type is aiohttp.WSMsgType.TEXT, frame
        message = json.loads(frame.data)
        assert isinstance(message, dict)
        return message

    async def closed(self) -> int | None:
        """Wait for the end of the connection and give the close code; other messages are not expected."""
        async with asyncio.timeout(20):
            frame = await self.ws.receive()
        assert frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING), frame
        return self.ws.close_code

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        await self.send(message)
        return await self.receive()


class Site:
    """A running server with its state directory and an HTTP session."""

    def __init__(self, server: SignalingServer, port: int, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.server = server
        self.port = port
        self.session = session
        self.clock = clock
        self.url = f"http://127.0.0.1:{port}"
        # A client that nobody holds would be closed by the garbage collector.
        self.clients: list[Client] = []

    async def connect(self, key: Ed25519PrivateKey | None = None, **options: Any) -> Client:
        ws = await self.session.ws_connect(f"{self.url}/ws", **options)
        self.clients.append(Client(ws, key or Ed25519PrivateKey.generate()))
        return self.clients[-1]

    async def joined(self, run: CreatedRun, *, owner: bool = False, key: Ed25519PrivateKey | None = None) -> Client:
        client = await self.connect(key)
        token = run.owner_token if owner else run.join_token
        reply = await client.join(run.run, token, kind="tracker" if owner else "python")
        assert reply["type"] == "welcome", reply
        return client


@contextlib.asynccontextmanager
async def site(state_dir: Path, **options: Any) -> AsyncIterator[Site]:
    """Serve `state_dir` on a free port of the loopback interface."""
    clock = Clock()
    # The pages as they are without a built browser peer, whether or not one has been built here.
    pages = state_dir.parent / "page"
    if not pages.exists():
        shutil.copytree(PAGE_DIRECTORY, pages, ignore=shutil.ignore_patterns("dist"))
    options = {"page_directory": pages, **options}
    server = SignalingServer(Registry(state_dir), clock=clock, rng=random.Random(1), **options)
    port = await server.start("127.0.0.1", 0)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            yield Site(server, port, session, clock)
        finally:
            await server.stop()
