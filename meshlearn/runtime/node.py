"""The live driver: gives the sans-IO peer what happens, and does what it says, over WebRTC and signaling.

Everything here runs on one event loop; training has a thread of its own (`compute`). The driver decides nothing about the
protocol: it translates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final

from meshlearn.errors import MeshError, MeshlearnError
from meshlearn.protocol import actions, events
from meshlearn.protocol.peer import Peer
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, Channel, ChannelClosed, Transport
from meshlearn.runtime.compute import TrainingThread
from meshlearn.runtime.identity import Identity, decode_base64url, encode_base64url
from meshlearn.runtime.introductions import Introductions
from meshlearn.runtime.loop_monitor import LoopMonitor
from meshlearn.runtime.signaling_client import SignalingClient, State

_log = logging.getLogger(__name__)

REPORT_INTERVAL_S: Final = 1.0
PEER_ID_BYTES: Final = 32


def _peer_bytes(peer_id: str) -> bytes:
    return decode_base64url(peer_id, PEER_ID_BYTES)


class Node:
    """One live peer: core, links, signaling, and (unless it is a tracker) training.

    ``await start()``, ``await wait()`` for the end, ``await close()``. All of it belongs to the event loop that it is made on.
    """

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
        on_trained: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_action` hears every action of the core; `on_message` what the server says of the run (evaluation, over, mesh).

        `on_trained` hears that the step limit is reached: the peer trains no more, and still averages until the run is over.
        An exception in any of them ends the node: `wait` raises it.
        """
        self.peer = peer
        self.signaling = signaling
        self.training = training
        self._identity = identity
        self._transport = transport
        self._introductions = Introductions(run_id, identity, transport, signaling.send, self._spawn, self._not_connected)
        self._lock = lock
        self._on_action = on_action
        self._on_message = on_message
        self._on_trained = on_trained
        self._channels: dict[int, Channel] = {}
        self._numbers = 0
        self._congested: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._outcome: str | BaseException | None = None
        self._ended = asyncio.Event()
        self._closed = False
        self._training_started = False
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self.monitor = LoopMonitor(self._loop)

    # -- life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the signaling server and begin; raises MeshError where that is not possible."""
        self._transport.on_opened(self._channel_opened)
        self._transport.on_failed(self._connection_failed)
        self.signaling.on_message(self._signaled)
        self.signaling.on_state(self._signaling_changed)
        await self.signaling.connect()
        self.monitor.start()
        self._handle(events.Started())
        self._spawn(self._report())

    def end(self, reason: str) -> None:
        """Let `wait` return `reason`; the first end counts."""
        self._conclude(reason)

    def fail(self, error: BaseException) -> None:
        """Let `wait` raise `error`; the first end counts."""
        if not self._conclude(error):
            _log.debug("after the end of the node", exc_info=error)

    def _conclude(self, outcome: str | BaseException) -> bool:
        first = self._outcome is None
        if first:
            self._outcome = outcome
            self._ended.set()
        return first

    async def wait(self) -> str:
        """Return why the node has ended: what `end` was told, or the reason that the run is over.

        Raises MeshError where the server refuses this peer for good or the machine has no address, what the training or a
        callback raised, and whatever `fail` was told. Links stay open until `close`.
        """
        await self._ended.wait()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome or ""

    def pause(self) -> None:
        """Rest from training until `resume`; the peer goes on answering and averaging."""
        self._paused = True
        self._pace()

    def resume(self) -> None:
        """Train again after `pause`."""
        self._paused = False
        self._pace()

    async def close(self) -> None:
        """Stop training, say goodbye on every link, and close all, within seconds; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._conclude("The peer was closed.")
        if self.training is not None:
            await asyncio.to_thread(self.training.stop)
        self._handle(events.Leave())
        self.monitor.stop()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.signaling.close()
        finally:
            # What the links were given, the goodbyes above all, leaves before their sockets are closed.
            await self._transport.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    # -- the core -------------------------------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        try:
            with self._lock:
                now = self._loop.time()
                if self.training is not None:
                    done = self.training.progress()
                    if done.steps:
                        self.peer.handle(events.Stepped(done.steps, done.samples), now)
                todo = self.peer.handle(event, now)
            for action in todo:
                self._perform(action)
        except Exception as error:
            self._core_failed(event, error)
        self._pace()
        self._set_timer()

    def _core_failed(self, event: events.Event, error: Exception) -> None:
        """Contain a fault of ours: the core raises for no event. A frame that brings it about costs its sender the link."""
        if isinstance(event, events.Received):
            _log.error("a frame of link %d could not be handled", event.link, exc_info=error)
            if channel := self._channels.pop(event.link, None):
                channel.close()
                self._handle(events.LinkClosed(event.link))
        else:
            self.fail(error)

    def _set_timer(self) -> None:
        due = self.peer.deadline()
        if self._timer is not None:
            if self._timer_due == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None and not isinstance(self._outcome, BaseException):
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
                self._introductions.connect(encode_base64url(action.peer))
            case actions.CloseLink():
                self._congested.discard(action.link)
                if channel := self._channels.pop(action.link, None):
                    channel.close()
            case actions.Ready():
                self._start_training()
        self._heard(self._on_action, action)

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
            # Not at once: the actions that follow were decided before, and the core is not entered in the midst of them.
            self._loop.call_soon(self._tell_congested, action.link)

    # -- training -------------------------------------------------------------------------------------------------------

    def _start_training(self) -> None:
        if self.training is None or self._training_started or self._closed:
            return
        self._training_started = True
        # What came before, connecting above all, says nothing about training.
        self.monitor.start()
        self._pace()
        self.training.start(self._training_ended_elsewhere)

    def _pace(self) -> None:
        """Train while there is a model and nobody has asked for a rest; while it is pulled anew, steps would be lost."""
        if self.training is None or not self._training_started:
            return
        if self._paused or not self.peer.ready:
            self.training.pause()
        else:
            self.training.resume()

    def _training_ended_elsewhere(self, error: BaseException | None) -> None:
        """Hear of the end on the training thread, and say so on the loop's."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            self._loop.call_soon_threadsafe(self._training_ended, error)

    def _training_ended(self, error: BaseException | None) -> None:
        if error is not None:
            self.fail(error)
        elif self.training is not None and self.training.finished and not self._closed:
            self._handle(events.Stepped(0, 0))
            self._heard(self._on_trained)

    def _heard(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self.fail(error)

    # -- links ----------------------------------------------------------------------------------------------------------

    def _channel_opened(self, channel: Channel) -> None:
        self._numbers += 1
        number = self._numbers
        self._channels[number] = channel
        self._handle(events.LinkOpened(number, _peer_bytes(channel.remote), channel.outgoing))
        if number not in self._channels:
            return  # the core did not want it
        channel.on_frame(lambda frame: self._handle(events.Received(number, frame)))
        channel.on_drained(lambda: self._link_drained(number))
        channel.on_closed(lambda reason: self._link_closed(number))

    def _tell_congested(self, number: int) -> None:
        if number in self._congested:  # it may have drained meanwhile
            self._handle(events.Congested(number))

    def _link_drained(self, number: int) -> None:
        if number in self._congested:
            self._congested.discard(number)
            self._handle(events.Drained(number))

    def _link_closed(self, number: int) -> None:
        self._congested.discard(number)
        if self._channels.pop(number, None) is not None:
            self._handle(events.LinkClosed(number))

    def _connection_failed(self, remote: str, reason: str) -> None:
        """Hear of the transport that a connection did not open."""
        self._not_connected(remote, MeshlearnError(reason))

    def _not_connected(self, remote: str, error: Exception) -> None:
        if isinstance(error, MeshError) and not self._numbers:
            # No address at all, and never a link; a machine that has lost its network for a while keeps trying.
            self.fail(error)
        if isinstance(error, MeshlearnError):
            _log.info("no link to %s: %s", remote, error)
        else:
            _log.warning("no link to %s: %r", remote, error, exc_info=_log.isEnabledFor(logging.DEBUG))
        self._handle(events.ConnectFailed(_peer_bytes(remote)))

    # -- signaling ------------------------------------------------------------------------------------------------------

    def _signaling_changed(self, state: State) -> None:
        if state == "refused":
            self._spawn(self._hear_refusal())

    async def _hear_refusal(self) -> None:
        """End with the sentence of the refusal: the server will not have this peer back."""
        await self.signaling.wait()

    def _signaled(self, message: dict[str, Any]) -> None:
        if self._closed or self._introductions.hear(message):
            return
        match message["type"]:
            case "welcome":
                self._use_ice_servers(message["ice_servers"])
                self._introduced(message["peers"])
            case "peers":
                self._introduced(message["peers"])
            case "over":
                self._heard(self._on_message, message)
                self.end(message["reason"] or "The run is over.")
            case _:
                self._heard(self._on_message, message)

    def _use_ice_servers(self, servers: list[dict[str, Any]]) -> None:
        try:
            self._transport.set_ice_servers(servers)
        except MeshError as error:
            _log.warning("the server's ICE servers are not used: %s", error)

    def _introduced(self, entries: list[dict[str, Any]]) -> None:
        # Trackers come to the peers by themselves.
        named = (entry for entry in entries if entry["kind"] != "tracker" or not self.peer.config.trains)
        self._handle(events.Introduced(tuple(_peer_bytes(entry["peer"]) for entry in named)))

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
        loss = self.training.loss if self.training is not None else math.nan
        return {
            "peer": self._identity.peer_id,
            "ready": peer.ready,
            "steps": peer.steps,
            "samples": peer.samples,
            "samples_per_second": round(peer.samples_per_second, 1),
            "loss": round(loss, 5) if math.isfinite(loss) else None,
            "training": None if self.training is None else self.training.state,
            "links": sum(link.greeted for link in peer.links.values()),
            "age": peer.replica.oldest,
            "signaling": self.signaling.state,
            "loop_late_ms_p99": round(self.monitor.percentile_ms(0.99), 2),
            "loop_late_ms_max": round(self.monitor.max_ms, 2),
            "loop_blocked_ms_max": round(self.monitor.own_max_ms, 2),
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
