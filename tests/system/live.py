"""A real mesh for the stories of this folder: a server, peers and trackers as processes of their own, over real WebRTC."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from meshlearn.demo.processes import Child
from meshlearn.new_run import new_run
from meshlearn.runtime.run import RunSettings
from signaling.registry import CreatedRun

# Nothing is measured with these: a machine that does ten things at once needs them.
START_S = 120.0
STORY_S = 120.0

Event = dict[str, Any]


class Process(Child):
    """A child that remembers all that it has said."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.said: list[Event] = []
        self.log = log
        super().__init__(name, arguments, log, lambda child, fields: self.said.append(fields))

    def of(self, kind: str) -> list[Event]:
        return [fields for fields in self.said if fields["event"] == kind]

    @property
    def status(self) -> Event:
        return self.last.get("status", {})

    async def event(self, kind: str, timeout_s: float = START_S) -> Event:
        """The first event of that kind."""
        assert await self.until(lambda: kind in self.last, timeout_s), f"{self.name} said no {kind}: {self.complaint()}"
        return self.of(kind)[0]

    async def holds(self, condition: Callable[[Event], bool], timeout_s: float = STORY_S) -> Event:
        """The first status, from now on, of which the condition holds."""
        seen = len(self.said)

        def found() -> Event | None:
            return next((f for f in self.said[seen:] if f["event"] == "status" and condition(f)), None)

        assert await self.until(lambda: found() is not None, timeout_s), f"{self.name}: {self.status}, {self.complaint()}"
        status = found()
        assert status is not None
        return status


class LiveMesh:
    """One run on one server; every process that it starts is ended by `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.server: Process | None = None
        self.port = 0
        self.run: CreatedRun | None = None
        self.processes: list[Process] = []

    async def start(self, shards: int, **settings: Any) -> None:
        """Make the run and start the server."""
        optimiser = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}
        chosen = RunSettings(**{"optimiser": optimiser, "exchange_interval_s": 0.04, "seed": 1, **settings})
        self.run = await asyncio.to_thread(new_run, self.state, settings=chosen, peers=shards)
        await self.start_server()

    async def start_server(self) -> None:
        """Start the server; a second time on the port and the state of the first."""
        arguments = ["serve", "--port", str(self.port), "--state", str(self.state), "--json"]
        self.server = await self._start("server", arguments)
        self.port = (await self.server.event("ready"))["port"]

    def link(self, *, owner: bool = False, port: int | None = None) -> str:
        assert self.run is not None
        token = self.run.owner_token if owner else self.run.join_token
        return f"http://127.0.0.1:{port or self.port}/r/{self.run.run}#{token}"

    async def join(self, name: str, *more: str, port: int | None = None) -> Process:
        cache = ["--cache", str(self.folder / "cache")]
        return await self._start(name, ["join", self.link(port=port), *cache, "--json", "--steps-per-second", "60", *more])

    async def track(self, name: str = "tracker", *, owner: bool = True) -> Process:
        out = ["--out", str(self.folder / name), "--cache", str(self.folder / "cache")]
        return await self._start(name, ["track", self.link(owner=owner), *out, "--json"])

    async def _start(self, name: str, arguments: list[str]) -> Process:
        process = Process(name, arguments, self.folder / f"{name}.log")
        self.processes.append(process)
        await process.start()
        return process

    def history(self) -> list[Event]:
        """The run's public history on the server's disk."""
        assert self.run is not None
        text = (self.state / "runs" / self.run.run / "history.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    async def close(self) -> None:
        await asyncio.gather(*(process.stop() for process in reversed(self.processes)))
        for process in self.processes:
            assert "Traceback" not in process.log.read_text(errors="replace"), process.log.read_text(errors="replace")


@contextlib.asynccontextmanager
async def live_mesh(folder: Path, shards: int, **settings: Any) -> AsyncIterator[LiveMesh]:
    mesh = LiveMesh(folder)
    try:
        await mesh.start(shards, **settings)
        yield mesh
    finally:
        await mesh.close()


class Ear:
    """A relay in front of the server that writes down what is asked over HTTP; WebSockets pass through unread."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self.port = 0
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Ear:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        for source, target, heard in ((reader, back, True), (there, writer, False)):
            task = asyncio.create_task(self._copy(source, target, heard))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, heard: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                if heard and data.startswith(b"GET "):
                    self.asked.append(data.split(b" ", 2)[1].decode())
                target.write(data)
                await target.drain()
        target.close()


async def eventually(condition: Callable[[], bool], what: str, timeout_s: float = STORY_S) -> None:
    """Wait until something outside of the processes' own words holds."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.05)
