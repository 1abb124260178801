"""The sans-IO peer: `handle(event, now) -> actions` and `deadline() -> time`.

The same object runs in the live mesh and in the simulator. It reads no clock, no socket, no environment and no global random
source; every random choice is a word of the generator given at construction, in the order that PROTOCOL.md lists. An event
that is malformed, late or hostile changes nothing but counters; no event raises.
"""

from __future__ import annotations

import math

from meshlearn.errors import FrameError, ProtocolError, UnsupportedVersion, WrongRun
from meshlearn.protocol import events
from meshlearn.protocol.actions import Action, CloseLink, Connect, Introduce, Ready
from meshlearn.protocol.averaging import AveragingRule
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.exchange import Exchanges
from meshlearn.protocol.link import Counters, Link
from meshlearn.protocol.membership import Membership, keeps_new_link
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.pulling import Pulling
from meshlearn.protocol.replica import Replica
from meshlearn.wire import limits
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
_WORD = 0xFFFF_FFFF
# After any other Goodbye the two leave each other alone for a while.
_NO_FAILURE = (Reason.LEAVING, Reason.DUPLICATE)


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
        self.links: dict[int, Link] = {}
        self.steps = 0
        self.samples = 0
        self._generator = generator
        self._outbox = Outbox(config.run_tag, self.counters)
        slices = slices or SliceCodec()
        self._exchanges = Exchanges(config, replica, rule, generator, slices, self._outbox, self.counters)
        self._membership = Membership()
        self._pulling = Pulling(config, replica, generator, slices, self._outbox, self.counters)
        self._ready = False
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
        return self._ready

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
                self._introduced(event, now)
            case events.LinkOpened():
                self._link_opened(event, now)
            case events.LinkClosed():
                self._link_closed(event.link, now)
            case events.ConnectFailed():
                self._membership.failed(event.peer, now)
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
        self._ask_for_introductions(now)

    def _leave(self) -> None:
        for link in list(self.links.values()):
            self._close(link, Reason.LEAVING, "the peer leaves", now=0.0, settle=False)
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
        for link in list(self.links.values()):
            if now - link.heard_at >= self.config.link_timeout_s:
                self._close(link, Reason.MISBEHAVIOUR, "nothing was heard for too long", now)
                continue
            link.offences = max(0.0, link.offences - _FORGIVEN_A_SECOND * HOUSEKEEPING_S)
            if not link.greeted:
                self._greet(link)
            else:
                self._exchanges.expire(link, now)
                if beat and not link.congested:
                    self._beat(link, now)
        self._membership.expire(now - self.config.connect_timeout_s, now)
        if len(self.links) + self._membership.connecting < self.config.view_size:
            self._ask_for_introductions(now)
        self._settle(now)
        if self._averages and self._ready and (self._exchanges.diverged or self._pulling.stale(self.links.values())):
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
        if self._ready or self._pulling.active or self._started_at == math.inf:
            return
        if self.config.trains and not self.rule.exchanges:
            # Whoever trains alone takes nobody's model.
            self._become_ready(False, now)
            return
        if self._pulling.begin(self.links.values(), now):
            return
        greeted = [link for link in self.links.values() if link.greeted]
        alone = self._membership.introduced and not self._membership.connecting and len(greeted) == len(self.links)
        if alone or now - self._started_at >= self.config.join_timeout_s:
            self._become_ready(False, now)

    @property
    def _averages(self) -> bool:
        return self.config.trains and self.rule.exchanges

    def _pull_again(self, now: float) -> None:
        if not self._pulling.begin_again(self.links.values(), now):
            return
        self._ready = False
        self._exchange_at = math.inf
        # An answer that came now would be applied to a slice that is not the one that was sent.
        for link in self.links.values():
            self._exchanges.abandon(link)

    def _become_ready(self, pulled: bool, now: float) -> None:
        self._ready = True
        self._exchanges.diverged = False
        if self._averages:
            self._exchange_at = now + self._generator.jittered(self.config.exchange_interval_s)
        self._outbox.act(Ready(pulled))

    def _finish_pull(self, now: float) -> None:
        pulled = self._pulling.take_ended(now)
        if pulled is not None:
            self._become_ready(pulled, now)

    # -- links --------------------------------------------------------------------------------------------------------

    def _ask_for_introductions(self, now: float) -> None:
        if now < self._membership.introduce_at:
            return
        self._membership.introduce_at = now + self._generator.jittered(self.config.introduce_interval_s)
        self._outbox.act(Introduce(self.config.view_size))

    def _introduced(self, event: events.Introduced, now: float) -> None:
        linked = {link.peer for link in self.links.values()}
        room = self.config.view_size - len(self.links)
        for peer in self._membership.choose(event.peers, linked, self.config.peer_id, room, self._generator, now):
            self._outbox.act(Connect(peer))
        self._settle(now)

    def _link_opened(self, event: events.LinkOpened, now: float) -> None:
        self._membership.opened(event.peer)
        link = Link(event.link, event.peer, event.outgoing, now)
        older = next((other for other in self.links.values() if other.peer == event.peer), None)
        if older is not None and not keeps_new_link(self.config.peer_id, event.peer, link.outgoing, older.outgoing):
            self._close_unknown(link, Reason.DUPLICATE, "there is a link between the two already")
            return
        if older is not None:
            # Without settling: for a moment the peer looks alone, and is not.
            self._close(older, Reason.DUPLICATE, "a newer link takes its place", now, settle=False)
        if len(self.links) >= self.config.links_max:
            self._close_unknown(link, Reason.VIEW_FULL, "the view is full")
            return
        self.counters.links_opened += 1
        self.links[link.number] = link
        self._greet(link)

    def _greet(self, link: Link) -> None:
        config = self.config
        self._outbox.send(
            link,
            Hello(
                limits.PROTOCOL_VERSION_MIN,
                limits.PROTOCOL_VERSION_MAX,
                config.kind,
                config.codecs_bitmap,
                link.greeted,
                config.peer_id,
                self._own_age(),
                len(self.replica.initial),
                self.replica.slice_length,
                config.agent,
            ),
        )

    def _own_age(self) -> int:
        return self.replica.oldest if self._ready else 0

    def _beat(self, link: Link, now: float) -> None:
        delay_ms = int((now - link.echo_at) * 1000.0) if link.echo_ms else 0
        self._outbox.send(
            link,
            Heartbeat(
                int(now * 1000.0) & _WORD or 1,
                link.echo_ms,
                min(delay_ms, _WORD),
                self._own_age(),
                self.steps & _WORD,
                self._samples_per_second,
            ),
        )

    def _close_unknown(self, link: Link, reason: Reason, text: str) -> None:
        self._outbox.send(link, Goodbye(reason, text))
        self._outbox.act(CloseLink(link.number, reason, text))

    def _close(self, link: Link, reason: Reason, text: str, now: float, settle: bool = True) -> None:
        self._close_unknown(link, reason, text)
        if reason not in _NO_FAILURE:
            self._membership.failed(link.peer, now)
        self._forget(link, now, settle)

    def _forget(self, link: Link, now: float, settle: bool = True) -> None:
        self.links.pop(link.number, None)
        self.counters.links_lost += 1
        self._exchanges.abandon(link)
        self._pulling.link_lost(link.number)
        if settle:
            self._settle(now)

    def _link_closed(self, number: int, now: float) -> None:
        if link := self.links.get(number):
            self._forget(link, now)

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
                self._greeted(link, message, now)
            elif isinstance(message, Goodbye):
                self._taken_leave(link, message, now)
            elif link.greeted:
                link.heard_at = now
                self._dispatch(link, message, now)
        except UnsupportedVersion as error:
            self._fault(link, Reason.VERSION, error, now)
        except WrongRun as error:
            self._fault(link, Reason.WRONG_RUN, error, now)
        except ProtocolError as error:
            self.counters.messages_refused += 1
            link.offences += 1.0
            self._outbox.refuse(link, str(error))
        if link.offences >= self.config.offences_max and link.number in self.links:
            self._close(link, Reason.MISBEHAVIOUR, "too many messages had to be refused", now)

    def _fault(self, link: Link, reason: Reason, error: ProtocolError, now: float) -> None:
        self.counters.messages_refused += 1
        self._outbox.refuse(link, str(error))
        self._close(link, reason, str(error), now)

    def _greeted(self, link: Link, hello: Hello, now: float) -> None:
        if hello.peer_id != link.peer:
            self._outbox.refuse(link, "the link belongs to another peer than its greeting says")
            self._close(link, Reason.WRONG_PEER, "the greeting names another peer than the link's", now)
            return
        if hello.version_min > limits.PROTOCOL_VERSION_MAX or hello.version_max < limits.PROTOCOL_VERSION_MIN:
            text = f"versions {hello.version_min} to {hello.version_max} are not spoken here"
            self._fault(link, Reason.VERSION, UnsupportedVersion(text), now)
            return
        if (hello.parameter_count, hello.slice_length) != (
            len(self.replica.initial),
            self.replica.slice_length,
        ):
            self._outbox.refuse(link, "the other side's model or slices have another size")
            self._close(link, Reason.SHAPE, "the model or its slices have another size", now)
            return
        link.heard_at = now
        link.kind = hello.kind
        link.age = hello.age
        link.greeted = True
        if not hello.heard:
            self._greet(link)
        self._settle(now)
        self._pulling.keep_on(self.links, now)

    def _dispatch(self, link: Link, message: Message, now: float) -> None:
        match message:
            case ExchangeRequest():
                self._exchanges.serve(link, message, self._ready and self._averages, now)
            case ExchangeReply():
                self._exchanges.finish(link, message, now)
            case Heartbeat():
                self._hear_beat(link, message, now)
            case PullRequest():
                self._pulling.serve(link, message, self._ready)
            case PullReply():
                self._pulling.answered(self.links.values(), link, message, now)
                self._pulling.keep_on(self.links, now)
                self._finish_pull(now)
            case Hello() | Goodbye():
                raise AssertionError("greetings are handled before")

    def _taken_leave(self, link: Link, message: Goodbye, now: float) -> None:
        """Forget a link, greeted or not: a full view says goodbye without a greeting."""
        if message.reason is not Reason.DUPLICATE:
            self._membership.failed(link.peer, now)
        self._forget(link, now)
        self._outbox.act(CloseLink(link.number, message.reason, message.text))

    def _hear_beat(self, link: Link, beat: Heartbeat, now: float) -> None:
        link.echo_ms, link.echo_at = beat.sent_ms, now
        link.age, link.steps, link.samples_per_second = beat.age, beat.steps, beat.samples_per_second
        if beat.echo_ms:
            round_trip_ms = ((int(now * 1000.0) & _WORD) - beat.echo_ms - beat.echo_delay_ms) & _WORD
            if round_trip_ms < 60_000:
                link.round_trip_s = round_trip_ms / 1000.0
        self._settle(now)
        self._pulling.keep_on(self.links, now)


__all__ = ["Peer", "PeerKind"]
