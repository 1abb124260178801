"""Starting and stopping: ports, signals, options, and one sentence for every mistake."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from signaling.__main__ import main
from signaling.errors import OptionError, PortInUseError, SignalingError
from signaling.registry import CreatedRun
from signaling.server import read_ice_servers, serve


async def test_serve_tells_its_port_and_stops_when_told(run: CreatedRun, state_dir: Path) -> None:
    ports: list[int] = []
    ready, stop = asyncio.Event(), asyncio.Event()

    def on_ready(port: int) -> None:
        ports.append(port)
        ready.set()

    serving = asyncio.create_task(serve("127.0.0.1", 0, state_dir, ready=on_ready, stop=stop))
    await ready.wait()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{ports[0]}/r/{run.run}") as response:
        assert response.status == 200
    stop.set()
    await serving
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", ports[0]))


async def test_a_port_in_use_is_one_sentence(state_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"cannot listen on 127\.0\.0\.1, port {port}: .*--port"):
            await serve("127.0.0.1", port, state_dir, stop=asyncio.Event())


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99_999), ("192.0.2.1", 0), ("no such host", 0)])
async def test_an_impossible_address_is_one_sentence(state_dir: Path, host: str, port: int) -> None:
    with pytest.raises(SignalingError, match="cannot listen"):
        await serve(host, port, state_dir, stop=asyncio.Event())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_closes_the_sockets_and_the_process_exits_with_0(state_dir: Path, number: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "signaling", "--port", "0", "--state-dir", str(state_dir), stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            line = (await process.stderr.readline()).decode()
            assert line.startswith("Listening on http://127.0.0.1:")
            async with aiohttp.ClientSession() as session, session.ws_connect(line.split()[-1] + "/ws") as ws:
                assert json.loads((await ws.receive()).data)["type"] == "challenge"
                process.send_signal(number)
                assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
                assert ws.close_code == 1001
            assert await process.wait() == 0
            assert await process.stderr.read() == b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def test_mistakes_at_the_terminal_are_one_sentence_and_exit_code_2(
    state_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state_dir.write_text("")
    assert main(["--state-dir", str(state_dir), "--port", "0"]) == 2
    assert main(["--state-dir", str(tmp_path), "--ice-servers", "[{}]"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.endswith(".") for line in lines)


TURN = {"urls": ["turn:turn.example.org:3478?transport=udp"], "username": "u", "credential": "c"}


def test_ice_servers_come_from_a_text_or_a_file(tmp_path: Path) -> None:
    servers = [{"urls": "stun:stun.example.org"}, TURN]
    path = tmp_path / "ice.json"
    path.write_text(json.dumps(servers))
    assert read_ice_servers(json.dumps(servers)) == servers
    assert read_ice_servers(str(path)) == servers
    assert read_ice_servers(json.dumps({"iceServers": servers})) == servers
    assert read_ice_servers(json.dumps(TURN)) == [TURN]
    assert read_ice_servers("[]") == []


@pytest.mark.parametrize(
    "text",
    [
        "/no/such/file",
        "[",
        "[1]",
        "[{}]",
        '[{"urls": []}]',
        '[{"urls": "http://example.org"}]',
        '[{"urls": "stun:a", "password": "x"}]',
        '[{"urls": "stun:a", "username": 5}]',
        '{"iceServers": {}}',
        json.dumps([{"urls": "stun:a"}] * 9),
    ],
)
def test_wrong_ice_servers_are_one_sentence(text: str) -> None:
    with pytest.raises(OptionError, match=r"\.$"):
        read_ice_servers(text)
