"""The live driver: gives the sans-IO peer what happens, and does what it says, over WebRTC and signaling.

Everything here runs on one event loop; training has a thread of its own (`compute`). The driver decides nothing about the
protocol: it translates.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final

from meshlearn.errors import MeshlearnError
from meshlearn.protocol import actions, events
from meshlearn.protocol.peer import Peer
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, Channel, ChannelClosed, Transport
from meshlearn.runtime.compute import TrainingThread
from meshlearn.runtime.identity import Identity, decode_base64url, encode_base64url, verify_fingerprints
from meshlearn.runtime.loop_monitor import LoopMonitor
from meshlearn.runtime.signaling_client import SignalingClient

_log = logging.getLogger(__name__)

REPORT_INTERVAL_S: Final = 1.0
# Steps reach the core this often, or with the next message.
PROGRESS_INTERVAL_S: Final = 0.1
# Offers answered at the same time; each costs two sockets and about 5 ms.
ANSWERS_MAX: Final = 32
PEER_ID_BYTES: Final = 32


def _peer_bytes(peer_id: str) -> bytes:
    return decode_base64url(peer_id, PEER_ID_BYTES)


class Node:
    """One live peer: core, links, signaling, and (unless it is a tracker) training."""

    def __init__(
        self,
        peer: Peer,
        identity: Identity,
        run_id: str,
        signaling: SignalingClient,
        transport: Transport,
        lock: threading.Lock,
        *,
        training: TrainingThread | None = None,
        on_action: Callable[[actions.Action], None] = lambda action: None,
        on_message: Callable[[dict[str, Any]], None] = lambda message: None,
    ) -> None:
        """`on_action` hears every action of the core; `on_message` what the server says of the run (evaluation, over, mesh)."""
        self.peer = peer
        self.signaling = signaling
        self.training = training
        self.monitor = LoopMonitor()
        self._identity = identity
        self._run_id = run_id
        self._transport = transport
        self._lock = lock
        self._on_action = on_action
        self._on_message = on_message
        self._channels: dict[int, Channel] = {}
        self._numbers = 0
        self._congested: set[int] = set()
        self._sessions: dict[tuple[str, str], bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._ended = asyncio.Event()
        self._training_started = False
        self._loop = asyncio.get_running_loop()

    # -- life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the signaling server and begin; raises MeshError where that is not possible."""
        self._transport.on_opened(self._channel_opened)
        self._transport.on_failed(self._connection_failed)
        self.signaling.on_message(self._signaled)
        await self.signaling.connect()
        self.monitor.start()
        self._handle(events.Started())
        self._spawn(self._report())

    def end(self) -> None:
        """Let `wait` return."""
        self._ended.set()

    async def wait(self) -> None:
        """Return when `end` has been called."""
        await self._ended.wait()

    async def close(self) -> None:
        """Stop training, say goodbye on every link, and close all; safe to call twice."""
        if self.training is not None and self._training_started:
            await asyncio.to_thread(self.training.stop)
        self._handle(events.Leave())
        self.monitor.stop()
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.signaling.close()
        await self._transport.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task of the node failed", exc_info=error)

    # -- the core -------------------------------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        with self._lock:
            now = self._loop.time()
            if self.training is not None:
                done = self.training.progress()
                if done.steps:
                    self.peer.handle(events.Stepped(done.steps, done.samples), now)
            todo = self.peer.handle(event, now)
        for action in todo:
            self._perform(action)
        self._set_timer()

    def _set_timer(self) -> None:
        due = self.peer.deadline()
        if due is None or (self._timer is not None and self._timer_due == due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._handle(events.Tick())

    def _perform(self, action: actions.Action) -> None:
        match action:
            case actions.Send():
                self._send(action)
            case actions.Introduce():
                self.signaling.send({"type": "sample", "count": action.count})
            case actions.Connect():
                self._spawn(self._connect(action.peer))
            case actions.CloseLink():
                self._congested.discard(action.link)
                if channel := self._channels.pop(action.link, None):
                    channel.close()
            case actions.Ready():
                if self.training is not None and not self._training_started:
                    self._training_started = True
                    self.training.start()
        self._on_action(action)

    def _send(self, action: actions.Send) -> None:
        channel = self._channels.get(action.link)
        if channel is None:
            return
        try:
            for frame in action.frames:
                channel.send(frame)
        except ChannelClosed:
            return  # on_closed tells the core
        if channel.buffered_amount > BUFFERED_BYTES_HIGH and action.link not in self._congested:
            self._congested.add(action.link)
            self._loop.call_soon(self._handle, events.Congested(action.link))

    # -- links ----------------------------------------------------------------------------------------------------------

    def _channel_opened(self, channel: Channel) -> None:
        self._numbers += 1
        number = self._numbers
        self._channels[number] = channel
        self._handle(events.LinkOpened(number, _peer_bytes(channel.remote), channel.outgoing))
        if number not in self._channels:
            return  # the core did not want it
        channel.on_frame(lambda frame: self._handle(events.Received(number, frame)))
        channel.on_drained(lambda: self._drained(number))
        channel.on_closed(lambda reason: self._closed(number))

    def _drained(self, number: int) -> None:
        if number in self._congested:
            self._congested.discard(number)
            self._handle(events.Drained(number))

    def _closed(self, number: int) -> None:
        self._congested.discard(number)
        if self._channels.pop(number, None) is not None:
            self._handle(events.LinkClosed(number))

    def _connection_failed(self, remote: str, reason: str) -> None:
        _log.info("no link to %s: %s", remote, reason)
        self._handle(events.ConnectFailed(_peer_bytes(remote)))

    # -- signaling ------------------------------------------------------------------------------------------------------

    async def _connect(self, peer: bytes) -> None:
        remote = encode_base64url(peer)
        try:
            session, sdp = await self._transport.offer(remote)
        except MeshlearnError as error:
            self._connection_failed(remote, str(error))
            return
        self._say("offer", remote, session, sdp)

    def _say(self, kind: str, to: str, session: str, sdp: str) -> None:
        signature = self._identity.sign_fingerprints(self._run_id, to, sdp)
        self.signaling.send({"type": kind, "to": to, "session": session, "sdp": sdp, "signature": signature})

    def _signaled(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "welcome" | "peers":
                named = (entry for entry in message["peers"] if entry["kind"] != "tracker" or not self.peer.config.trains)
                self._handle(events.Introduced(tuple(_peer_bytes(entry["peer"]) for entry in named)))
            case "offer":
                if len(self._tasks) < ANSWERS_MAX:
                    self._spawn(self._answer(message))
            case "answer":
                self._spawn(self._accept(message))
            case "candidate":
                self._spawn(self._add_candidate(message))
            case "decline" | "unreachable":
                remote = message.get("from") or message.get("peer", "")
                self._transport.abandon(remote, message["session"])
                self._handle(events.ConnectFailed(_peer_bytes(remote)))
            case _:
                self._on_message(message)

    async def _answer(self, message: dict[str, Any]) -> None:
        remote, session = message["from"], message["session"]
        try:
            verify_fingerprints(self._run_id, remote, self._identity.peer_id, message["sdp"], message["signature"])
            sdp = await self._transport.accept_offer(remote, session, message["sdp"])
        except MeshlearnError as error:
            _log.info("the offer of %s was declined: %s", remote, error)
            self.signaling.send({"type": "decline", "to": remote, "session": session})
            return
        self._say("answer", remote, session, sdp)

    async def _accept(self, message: dict[str, Any]) -> None:
        remote = message["from"]
        try:
            verify_fingerprints(self._run_id, remote, self._identity.peer_id, message["sdp"], message["signature"])
            await self._transport.accept_answer(remote, message["session"], message["sdp"])
        except MeshlearnError as error:
            self._transport.abandon(remote, message["session"])
            self._connection_failed(remote, str(error))

    async def _add_candidate(self, message: dict[str, Any]) -> None:
        try:
            await self._transport.add_candidate(message["from"], message["session"], message["candidate"])
        except MeshlearnError as error:
            _log.info("a candidate of %s was not used: %s", message["from"], error)

    # -- reports --------------------------------------------------------------------------------------------------------

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            self._handle(events.Stepped(0, 0))
            status = self.status()
            self.signaling.send({"type": "report", **{key: status[key] for key in _REPORTED if status[key] is not None}})

    def status(self) -> dict[str, Any]:
        """Return what the peer has done so far: counters, rates, links, the event loop's delays in ms."""
        peer = self.peer
        loss = self.training.loss if self.training is not None else float("nan")
        return {
            "peer": self._identity.peer_id,
            "ready": peer.ready,
            "steps": peer.steps,
            "samples": peer.samples,
            "samples_per_second": round(peer.samples_per_second, 1),
            "loss": None if math.isnan(loss) else round(loss, 5),
            "links": sum(link.greeted for link in peer.links.values()),
            "age": peer.replica.oldest,
            "signaling": self.signaling.state,
            "loop_late_ms_p99": round(self.monitor.percentile_ms(0.99), 2),
            "loop_late_ms_max": round(self.monitor.percentile_ms(1.0), 2),
            **asdict(peer.counters),
        }


_REPORTED: Final = (
    "steps",
    "samples",
    "samples_per_second",
    "links",
    "bytes_in",
    "bytes_out",
    "exchanges_accepted",
    "exchanges_retried",
    "exchanges_refused",
    "loss",
    "ready",
)
