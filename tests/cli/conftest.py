"""The command line called in this process, and a server with runs in a thread beside it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshlearn.cli.main import main
from signaling.driver import SignalingServer
from signaling.registry import CreatedRun, Registry, create_run
from tests.runtime.runs import SmallRun


@dataclass
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What the user reads of a mistake: exit code 2, one line on standard error, nothing on standard output."""
        assert self.code == 2, self
        assert self.out == ""
        assert self.err.startswith("meshlearn: ")
        assert self.err.endswith("\n")
        sentence = self.err.removeprefix("meshlearn: ").removesuffix("\n")
        assert "\n" not in sentence
        assert "Traceback" not in sentence
        assert sentence.endswith(".")
        return sentence


Meshlearn = Callable[..., Said]


@pytest.fixture
def meshlearn(monkeypatch, capsys) -> Meshlearn:
    """``meshlearn("new", "--json")`` as at the terminal."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["meshlearn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        said = capsys.readouterr()
        return Said(end.value.code, said.out, said.err)

    return call


class ServerThread:
    """A signaling server on a loop and a thread of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self.call(self._start())

    async def _start(self) -> SignalingServer:
        server = SignalingServer(Registry(self.state))
        self.port = await server.start("127.0.0.1", 0)
        return server

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def make_run(self, **settings: Any) -> CreatedRun:
        small = SmallRun(**settings)
        fields = {key: value for key, value in small.fields.items() if key not in ("run", "created")}
        return create_run(self.state, fields, small.initial, small.files)

    def finish(self, created: CreatedRun, reason: str) -> None:
        async def work() -> None:
            run = self._server.registry.get(created.run)
            assert run is not None
            self._server.registry.finish(run, reason)

        self.call(work())

    def link(self, created: CreatedRun, token: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/r/{created.run}#{token or created.join_token}"

    def close(self) -> None:
        self.call(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def server(tmp_path) -> Iterator[ServerThread]:
    thread = ServerThread(tmp_path / "state")
    yield thread
    thread.close()
