"""Memory of one training peer with a model of a million parameters, and the links that one process can hold."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
# 784 * 1,024 + 1,024 + 1,024 * 192 + 192 + 192 * 10 + 10 = 1,002,562 parameters.
MODEL = {
    "format": 1,
    "input": [28, 28, 1],
    "layers": [
        {"layer": "Flatten"},
        {"layer": "Dense", "units": 1024, "activation": "relu"},
        {"layer": "Dense", "units": 192, "activation": "relu"},
        {"layer": "Dense", "units": 10},
    ],
    "loss": "softmax_cross_entropy",
}


def _resident_megabytes(process_id: int) -> float:
    """Peak resident memory of a process, from /proc."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("no VmHWM")


def _meshlearn(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "meshlearn", *arguments], stdout=subprocess.PIPE, cwd=ROOT, text=True)


def peer_megabytes(exchanges: int) -> tuple[float, dict[str, Any]]:
    """Two peers of 1 M parameters train until each has averaged `exchanges` slices; return the larger peak."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.json"
        model.write_text(json.dumps(MODEL))
        server = _meshlearn("serve", "--port", "0", "--state", f"{folder}/state", "--json")
        peers: list[subprocess.Popen[str]] = []
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            new = [
                sys.executable,
                "-m",
                "meshlearn",
                "new",
                "--model",
                str(model),
                "--state",
                f"{folder}/state",
                "--url",
                url,
                "--json",
            ]
            link = json.loads(subprocess.run(new, capture_output=True, check=True, cwd=ROOT).stdout)["join"]
            for number in range(2):
                pace = ("--steps-per-second", "20", "--cache", f"{folder}/cache", "--json")
                peers.append(_meshlearn("join", link, "--shard", f"{number}/4", *pace))
            status: dict[str, Any] = {}
            for line in peers[0].stdout or ():
                status = json.loads(line)
                if status.get("exchanges_accepted", 0) >= exchanges:
                    break
            return max(_resident_megabytes(peer.pid) for peer in peers), status
        finally:
            for child in (*peers, server):
                child.terminate()
                child.communicate(timeout=20)


async def hold_links(links: int) -> tuple[int, float]:
    """Open `links` aiortc links within this process; return how many opened, and kB of memory for each end."""
    from meshlearn.runtime.aiortc_channel import AiortcTransport
    from meshlearn.runtime.channel import Channel

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one, other = AiortcTransport(), AiortcTransport()
    opened: list[Channel] = []
    all_open = asyncio.Event()

    def hear(channel: Channel) -> None:
        opened.append(channel)
        if len(opened) == 2 * links:
            all_open.set()

    one.on_opened(hear)
    other.on_opened(hear)
    try:
        for _ in range(links):
            session, offer = await one.offer("b")
            await one.accept_answer("b", session, await other.accept_offer("a", session, offer))
        await asyncio.wait_for(all_open.wait(), 120)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finally:
        await one.close()
        await other.close()
    return len(opened) // 2, (after - before) / (2 * links)


def run(short: bool) -> list[Figure]:
    """Measure both; short: few exchanges, few links."""
    megabytes, status = peer_megabytes(4 if short else 60)
    wanted = 5 if short else 100
    opened, kilobytes = asyncio.run(hold_links(wanted))
    return [
        Figure(
            "peak memory of a peer, 1 M parameters",
            megabytes,
            "MB",
            150.0,
            "lower",
            f"{status['exchanges_accepted']} slices averaged",
        ),
        Figure("links held by one process", opened, "links", wanted, "higher", "links asked for; a view has 8 to 16"),
        Figure("memory of one end of a link", kilobytes, "kB", None, "lower", "160 KiB a connection"),
    ]
