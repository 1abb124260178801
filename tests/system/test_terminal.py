"""`join`, `track` and `serve` as a person or a shell uses them: text, Ctrl-C, and a pipe whose reader has gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.live import LiveMesh, live_mesh

WAIT_S = 120.0


class Terminal:
    """A command whose output is text, read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line_with(self, words: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line)
                if words in line:
                    return line
        raise AssertionError(f"no line with {words!r} in {self.lines}")

    async def end(self) -> tuple[str, str, int | None]:
        """What is left of its output, its standard error, and its exit code."""
        out, err = await asyncio.wait_for(self.process.communicate(), WAIT_S)
        return (out or b"").decode(), err.decode(), self.process.returncode


@contextlib.asynccontextmanager
async def terminal(*arguments: str, stdout: int = asyncio.subprocess.PIPE) -> AsyncIterator[Terminal]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshlearn", *arguments), stdout=stdout, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Terminal(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def cached(mesh: LiveMesh) -> list[str]:
    return ["--cache", str(mesh.folder / "cache")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_ends_a_peer_with_what_it_has_done(tmp_path, number):
    async with live_mesh(tmp_path, shards=1) as mesh:
        async with terminal("join", mesh.link(), *cached(mesh)) as peer:
            assert mesh.run is not None
            assert f"run {mesh.run.run}, 101,770 parameters" in await peer.line_with("joining 'Digits'")
            await peer.line_with("training starts from the run's initial vector")
            assert "slices 0 averaged" in await peer.line_with("samples/s")
            peer.process.send_signal(number)
            out, err, code = await peer.end()
        assert (code, err) == (0, "")
        assert out.splitlines()[-1].startswith("Stopped. ")
        assert out.splitlines()[-1].endswith(" 0 slices averaged.")


async def test_a_tracker_in_words_and_its_files_after_ctrl_c(tmp_path):
    async with live_mesh(tmp_path, shards=1) as mesh:
        await (await mesh.join("peer")).event("ready")
        async with terminal("track", mesh.link(owner=True), "--out", str(tmp_path / "mine"), *cached(mesh)) as tracker:
            await tracker.line_with("tracking 'Digits'")
            assert "1 peers" in await tracker.line_with("accuracy")
            tracker.process.send_signal(signal.SIGINT)
            out, err, code = await tracker.end()
        assert (code, err) == (0, "")
        assert f"Stopped. {tmp_path / 'mine' / 'model.safetensors'} has " in out
        assert {path.suffix for path in (tmp_path / "mine").iterdir()} == {".safetensors", ".csv", ".png", ".zip"}


@pytest.mark.parametrize("command", ["join", "track"])
async def test_a_reader_that_goes_away_ends_them_without_a_word(tmp_path, command):
    async with live_mesh(tmp_path, shards=1) as mesh:
        if command == "track":
            await (await mesh.join("peer")).event("ready")
        more = ["--out", str(tmp_path / "mine")] if command == "track" else []
        reader, writer = os.pipe()
        async with terminal(command, mesh.link(), "--json", *more, *cached(mesh), stdout=writer) as process:
            os.close(writer)
            first = await asyncio.to_thread(os.read, reader, 10)
            assert first == b'{"event": '
            os.close(reader)
            _, err, code = await process.end()
        assert (code, err) == (0, "")


async def test_a_server_says_where_it_is_and_stops_at_ctrl_c(tmp_path):
    async with terminal("serve", "--port", "0", "--state", str(tmp_path / "my state")) as server:
        line = await server.line_with("serving")
        assert f"serving {tmp_path / 'my state'} at http://127.0.0.1:" in line
        assert f"--state '{tmp_path / 'my state'}'" in line
        server.process.send_signal(signal.SIGINT)
        assert await server.end() == ("", "", 0)
    assert Path(tmp_path / "my state" / "runs").is_dir()
