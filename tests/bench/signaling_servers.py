"""The servers that bench_signaling measures, each in a process of its own: `python -m tests.bench.signaling_servers KIND DIR`.

KIND is "ours", the signaling server, or "plain": the least that aiohttp needs to relay, without checks, limits or runs.
The process prints its port. For each line on its input it prints a number: after "cpu" the CPU seconds that it has used,
after "memory" its resident bytes without garbage.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from aiohttp import web

from signaling.limits import MESSAGE_BYTES_MAX
from signaling.server import serve


async def plain(ready: Callable[[int], None], stop: asyncio.Event) -> None:
    """Relay by id: the first message of a client is its name, the others name their addressee."""
    sockets: dict[str, web.WebSocketResponse] = {}

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False, max_msg_size=MESSAGE_BYTES_MAX)
        await ws.prepare(request)
        name = ""
        async for message in ws:
            value = json.loads(message.data)
            if name:
                await sockets[value["to"]].send_str(json.dumps({**value, "from": name}))
            else:
                name = value["name"]
                sockets[name] = ws
                await ws.send_str("{}")
        return ws

    application = web.Application()
    application.router.add_get("/ws", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ready(runner.addresses[0][1])
    await stop.wait()


def resident_bytes() -> int:
    """Return the resident memory now, or where the system does not tell, its peak."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def main(kind: str, directory: Path) -> None:
    """Serve until the input ends."""
    stop = asyncio.Event()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    def ready(port: int) -> None:
        print(port, flush=True)

    async def answer() -> None:
        while question := await reader.readline():
            if question == b"memory\n":
                gc.collect()
            print(resident_bytes() if question == b"memory\n" else time.process_time(), flush=True)
        stop.set()

    answering = asyncio.create_task(answer())
    if kind == "plain":
        await plain(ready, stop)
    else:
        # Each client of the benchmark names an address of its own, as behind a proxy.
        await serve("127.0.0.1", 0, directory, trust_proxy=True, ready=ready, stop=stop)
    await answering


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner_:
        runner_.run(main(sys.argv[1], Path(sys.argv[2])))
