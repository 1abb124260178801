"""The sans-IO peer: `handle(event, now) -> actions` and `deadline() -> time`.

The same object runs in the live mesh and in the simulator. It reads no clock, no socket, no environment and no global random
source; every random choice is a word of the generator given at construction, in the order that PROTOCOL.md lists. An event
that is malformed, late or hostile changes nothing but counters; no event raises.
"""

from __future__ import annotations

import math

from meshlearn.errors import FrameError, ProtocolError, UnsupportedVersion, WrongRun
from meshlearn.protocol import events
from meshlearn.protocol.actions import Action, Ready
from meshlearn.protocol.averaging import AveragingRule
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.exchange import Exchanges
from meshlearn.protocol.link import Counters, Link
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.pulling import Pulling
from meshlearn.protocol.replica import Replica
from meshlearn.protocol.view import View
from meshlearn.wire.codec import SliceCodec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import (
    ExchangeReply,
    ExchangeRequest,
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    PeerKind,
    PullReply,
    PullRequest,
    Reason,
    decode,
)

HOUSEKEEPING_S = 1.0
# An offence is forgiven after ten seconds.
_FORGIVEN_A_SECOND = 0.1


class Peer:
    """One participant of a run."""

    def __init__(
        self,
        config: PeerConfig,
        replica: Replica,
        rule: AveragingRule,
        generator: Generator,
        now: float,
        slices: SliceCodec | None = None,
    ) -> None:
        """Start at time `now` (seconds, any origin that never goes back).

        `slices` may be shared by the peers of one thread; its buffers carry nothing from one call to the next.
        """
        self.config = config
        self.replica = replica
        self.rule = rule
        self.counters = Counters()
        self.steps = 0
        self.samples = 0
        self._generator = generator
        self._outbox = Outbox(config.run_tag, self.counters)
        slices = slices or SliceCodec()
        self._exchanges = Exchanges(config, replica, rule, generator, slices, self._outbox, self.counters)
        self._pulling = Pulling(config, replica, generator, slices, self._outbox, self.counters)
        self._view = View(config, replica, generator, self._outbox, self.counters, self._exchanges, self._pulling)
        self._left = False
        self._started_at = math.inf
        self._housekeeping_at = math.inf
        self._heartbeat_at = math.inf
        self._exchange_at = math.inf
        self._now = now
        self._rate_at = now
        self._rate_samples = 0
        self._samples_per_second = 0.0

    @property
    def ready(self) -> bool:
        """Whether the model is there, so that training may go on and requests are answered."""
        return self._pulling.ready

    @property
    def links(self) -> dict[int, Link]:
        """The open links by number."""
        return self._view.links

    @property
    def tokens(self) -> float:
        """The balance of the token account."""
        return self._exchanges.tokens.balance

    @property
    def samples_per_second(self) -> float:
        """Samples trained on per second, over the last heartbeat."""
        return self._samples_per_second

    def deadline(self) -> float | None:
        """Return when `handle(Tick(), now)` is due next; None before the start and after the end."""
        due = min(self._housekeeping_at, self._exchange_at)
        return None if due == math.inf else due

    def handle(self, event: events.Event, now: float) -> list[Action]:
        """Take in an event at time `now`; return what the driver is to do, in order."""
        if self._left:
            return []
        # A clock that was set back stands still until it has caught up.
        self._now = now = max(now, self._now)
        match event:
            case events.Received():
                self._received(event, now)
            case events.Tick():
                self._tick(now)
            case events.Stepped():
                self.replica.stepped(event.steps)
                self.steps += event.steps
                self.samples += event.samples
            case events.Introduced():
                self._view.introduced(event.peers, now)
                self._settle(now)
            case events.LinkOpened():
                # Without settling: for a moment a peer whose link is replaced looks alone, and is not.
                self._view.opened(event, now)
            case events.LinkClosed():
                if link := self.links.get(event.link):
                    self._view.forget(link)
                    self._settle(now)
            case events.ConnectFailed():
                self._view.not_connected(event.peer, now)
                self._settle(now)
            case events.Congested():
                if link := self.links.get(event.link):
                    link.congested = True
            case events.Drained():
                if link := self.links.get(event.link):
                    link.congested = False
            case events.Started():
                self._start(now)
            case events.Leave():
                self._leave()
        return self._outbox.take()

    # -- start, end, time ---------------------------------------------------------------------------------------------

    def _start(self, now: float) -> None:
        if self._started_at != math.inf:
            return
        self._started_at = now
        self._housekeeping_at = now + HOUSEKEEPING_S
        self._heartbeat_at = now + self.config.heartbeat_interval_s
        self._view.ask_for_introductions(now)

    def _leave(self) -> None:
        for link in list(self.links.values()):
            self._view.close(link, Reason.LEAVING, "the peer leaves", self._now)
        self._left = True
        self._housekeeping_at = self._exchange_at = math.inf

    def _tick(self, now: float) -> None:
        if now >= self._exchange_at:
            self._exchange_at = now + self._generator.jittered(self.config.exchange_interval_s)
            links = [link for link in self.links.values() if link.averages]
            if links:
                self._exchanges.tick(links, now)
        if now >= self._housekeeping_at:
            self._keep_house(now)

    def _keep_house(self, now: float) -> None:
        late = now - self._housekeeping_at
        self._housekeeping_at = now + HOUSEKEEPING_S
        if late > self.config.link_timeout_s / 2:
            # This side slept (a suspended laptop, a blocked loop): the silence says nothing about the links.
            for link in self.links.values():
                link.heard_at = now
        # The housekeeping nearest to the time: with float64 clocks the second second may come a hair early.
        beat = now >= self._heartbeat_at - HOUSEKEEPING_S / 2
        if beat:
            self._heartbeat_at = now + self.config.heartbeat_interval_s
            self._measure_rate(now)
        self._view.close_silent(now)
        for link in self.links.values():
            link.offences = max(0.0, link.offences - _FORGIVEN_A_SECOND * HOUSEKEEPING_S)
            if not link.greeted:
                self._view.greet(link)
            else:
                self._exchanges.expire(link, now)
                if beat and not link.congested:
                    self._view.beat(link, self.steps, self._samples_per_second, now)
        self._view.replenish(now)
        self._settle(now)
        if self._averages and self.ready and (self._exchanges.diverged or self._pulling.stale(self.links.values())):
            self._pull_again(now)
        self._pulling.keep_on(self.links, now)
        self._finish_pull(now)

    def _measure_rate(self, now: float) -> None:
        elapsed = now - self._rate_at
        if elapsed > 0:
            self._samples_per_second = (self.samples - self._rate_samples) / elapsed
        self._rate_at, self._rate_samples = now, self.samples

    # -- the model ----------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Decide, while there is no model yet, whether to pull it, to wait, or to start from the initial vector."""
        if self.ready or self._pulling.active or self._started_at == math.inf:
            return
        if self.config.trains and not self.rule.exchanges:
            # Whoever trains alone takes nobody's model.
            self._become_ready(False, now)
            return
        if self._pulling.begin(self.links.values(), now):
            return
        if self._view.settled or now - self._started_at >= self.config.join_timeout_s:
            self._become_ready(False, now)

    @property
    def _averages(self) -> bool:
        return self.config.trains and self.rule.exchanges

    def _pull_again(self, now: float) -> None:
        if not self._pulling.begin_again(self.links.values(), now):
            return
        self._pulling.ready = False
        self._exchange_at = math.inf
        # An answer that came now would be applied to a slice that is not the one that was sent.
        for link in self.links.values():
            self._exchanges.abandon(link)

    def _become_ready(self, pulled: bool, now: float) -> None:
        self._pulling.ready = True
        self._exchanges.diverged = False
        if self._averages:
            self._exchange_at = now + self._generator.jittered(self.config.exchange_interval_s)
        self._outbox.act(Ready(pulled))

    def _finish_pull(self, now: float) -> None:
        pulled = self._pulling.take_ended(now)
        if pulled is not None:
            self._become_ready(pulled, now)

    # -- messages -----------------------------------------------------------------------------------------------------

    def _received(self, event: events.Received, now: float) -> None:
        link = self.links.get(event.link)
        self.counters.bytes_in += len(event.frame)
        if link is None:
            self.counters.frames_discarded += 1
            return
        try:
            data = link.reassembler.feed(event.frame)
        except FrameError as error:
            # No offence: a link on which nothing valid comes is given up after link_timeout_s.
            self.counters.frames_discarded += 1
            self._outbox.refuse(link, str(error))
            return
        if data is None:
            return
        try:
            message = decode(data, self.config.run_tag)
            if isinstance(message, Hello):
                if self._view.greeted(link, message, now):
                    self._settle(now)
                    self._pulling.keep_on(self.links, now)
            elif isinstance(message, Goodbye):
                self._view.taken_leave(link, message, now)
            elif link.greeted:
                link.heard_at = now
                self._dispatch(link, message, now)
        except UnsupportedVersion as error:
            self._view.fault(link, Reason.VERSION, error, now)
        except WrongRun as error:
            self._view.fault(link, Reason.WRONG_RUN, error, now)
        except ProtocolError as error:
            self.counters.messages_refused += 1
            link.offences += 1.0
            self._outbox.refuse(link, str(error))
        if link.offences >= self.config.offences_max and link.number in self.links:
            self._view.close(link, Reason.MISBEHAVIOUR, "too many messages had to be refused", now)
        if link.number not in self.links:
            self._settle(now)

    def _dispatch(self, link: Link, message: Message, now: float) -> None:
        match message:
            case ExchangeRequest():
                self._exchanges.serve(link, message, self.ready and self._averages, now)
            case ExchangeReply():
                self._exchanges.finish(link, message, now)
            case Heartbeat():
                self._view.hear_beat(link, message, now)
                self._settle(now)
                self._pulling.keep_on(self.links, now)
            case PullRequest():
                self._pulling.serve(link, message, now)
            case PullReply():
                self._pulling.answered(self.links.values(), link, message, now)
                self._pulling.keep_on(self.links, now)
                self._finish_pull(now)
            case Hello() | Goodbye():
                raise AssertionError("greetings are handled before")


__all__ = ["Peer", "PeerKind"]
