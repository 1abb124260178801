"""What is particular to wrtc: it is optional, and its threads leave the event loop's world alone."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from meshlearn.errors import MeshError
from tests.runtime.links import Listener, connect, two_transports


async def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from meshlearn.runtime.wrtc_channel import WrtcTransport

    monkeypatch.setitem(sys.modules, "webrtc", None)
    with pytest.raises(MeshError, match=r"wrtc, which is not installed; run `pip install 'meshlearn\[fast\]'`"):
        WrtcTransport()


@pytest.mark.parametrize("kind", ["wrtc", "aiortc to wrtc"])
async def test_callbacks_come_on_the_thread_of_the_loop(kind: str) -> None:
    threads: list[threading.Thread] = []
    async with two_transports(kind) as (ours, theirs):
        alice, bob = await connect(ours, theirs)
        heard_by_alice = Listener(alice)
        bob.on_frame(lambda frame: (threads.append(threading.current_thread()), bob.send(frame))[1])
        bob.on_closed(lambda _reason: threads.append(threading.current_thread()))
        for _ in range(10):
            alice.send(b"ping")
        await heard_by_alice.until_frames(10)
        alice.close()
        await theirs.close()
    await asyncio.sleep(0)
    assert threads == [threading.current_thread()] * 11


async def test_connections_leave_no_task_behind() -> None:
    async with two_transports("wrtc") as (ours, theirs):
        for _ in range(5):
            alice, bob = await connect(ours, theirs)
            heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
            bob.close()
            await heard_by_alice.until_closed()
            await heard_by_bob.until_closed()
        await ours.offer("carol")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_servers_that_libwebrtc_refuses_are_named() -> None:
    pytest.importorskip("webrtc")
    from meshlearn.runtime.wrtc_channel import WrtcTransport

    transport = WrtcTransport([{"urls": "turn:127.0.0.1"}])
    with pytest.raises(MeshError, match="ICE servers cannot be used"):
        await transport.offer("bob")
    await transport.close()
