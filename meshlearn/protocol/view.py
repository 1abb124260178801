"""The links of a peer: how they are opened, greeted, kept alive, refreshed and closed.

`Peer` tells it what has happened, and settles afterwards what that means for the model.
"""

from __future__ import annotations

from meshlearn.errors import ProtocolError, UnsupportedVersion
from meshlearn.protocol import events
from meshlearn.protocol.actions import CloseLink, Connect, Introduce
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.exchange import Exchanges
from meshlearn.protocol.link import Counters, Link
from meshlearn.protocol.membership import Membership, keeps_new_link
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.pulling import Pulling
from meshlearn.protocol.refresh import Refresh
from meshlearn.protocol.replica import Replica
from meshlearn.wire import limits
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import Goodbye, Heartbeat, Hello, Reason

_WORD = 0xFFFF_FFFF
# After any other Goodbye the two leave each other alone for a while.
_NO_FAILURE = (Reason.LEAVING, Reason.DUPLICATE)
# An echo that is older makes no sense.
_ROUND_TRIP_MAX_MS = 60_000


class View:
    """Links by number, the membership behind them, and what is said on them apart from slices."""

    __slots__ = (
        "_config",
        "_counters",
        "_exchanges",
        "_generator",
        "_membership",
        "_outbox",
        "_pulling",
        "_refresh",
        "_replica",
        "links",
    )

    def __init__(
        self,
        config: PeerConfig,
        replica: Replica,
        generator: Generator,
        outbox: Outbox,
        counters: Counters,
        exchanges: Exchanges,
        pulling: Pulling,
    ) -> None:
        self._config = config
        self._replica = replica
        self._generator = generator
        self._outbox = outbox
        self._counters = counters
        self._exchanges = exchanges
        self._pulling = pulling
        self._membership = Membership()
        self._refresh = Refresh(config, generator)
        self.links: dict[int, Link] = {}

    @property
    def settled(self) -> bool:
        """Whether nobody is still to come: the server has answered, and neither a connection nor a greeting is awaited."""
        membership = self._membership
        return membership.introduced and not membership.connecting and all(link.greeted for link in self.links.values())

    # -- who is in it -------------------------------------------------------------------------------------------------

    def ask_for_introductions(self, now: float) -> None:
        """Ask for peers to fill the view with, where that was not done just before."""
        if now < self._membership.introduce_at:
            return
        self._membership.introduce_at = now + self._generator.jittered(self._config.introduce_interval_s)
        self._outbox.act(Introduce(self._config.view_size))

    def introduced(self, named: tuple[bytes, ...], now: float) -> None:
        """Connect to as many of the named peers as there is room for; to one more, where a full view is refreshed."""
        room = self._config.view_size - len(self.links)
        refreshes = self._refresh.takes(now) and room <= 0 and not self._membership.connecting
        linked = {link.peer for link in self.links.values()}
        own = self._config.peer_id
        for peer in self._membership.choose(named, linked, own, 1 if refreshes else room, self._generator, now):
            if refreshes:
                self._refresh.peer = peer
            self._outbox.act(Connect(peer))

    def not_connected(self, peer: bytes, now: float) -> None:
        """A connection did not come about."""
        self._membership.failed(peer, now)

    def replenish(self, now: float) -> None:
        """Ask for peers where the view is short; where it is full, refresh it now and then."""
        self._membership.expire(now - self._config.connect_timeout_s, now)
        count, connecting = len(self.links), self._membership.connecting
        if count + connecting < self._config.view_size:
            self.ask_for_introductions(now)
        if count < self._config.view_size or not self._pulling.ready:
            self._refresh.rest()
            return
        if self._refresh.due(now) and not connecting and not self._refresh.surplus:
            if count < self._config.links_max:
                self._refresh.ask(now)
                self._outbox.act(Introduce(self._config.view_size))
            else:
                # There is no room for a new link first, and one to spare.
                self._refresh.surplus = 1
        self._give_up_surplus(now)

    def _give_up_surplus(self, now: float) -> None:
        self._refresh.surplus = min(self._refresh.surplus, max(0, len(self.links) - self._config.view_size))
        while self._refresh.surplus:
            link = self._refresh.give_up((link for link in self.links.values() if not self._pulling.surveys(link)), now)
            if link is None:
                return
            self._refresh.surplus -= 1
            self._counters.links_replaced += 1
            self.close(link, Reason.REPLACED, "another link takes its place", now)

    # -- opening and closing ------------------------------------------------------------------------------------------

    def opened(self, event: events.LinkOpened, now: float) -> None:
        """Take a new link and greet on it, or close it where there is a better one or too many."""
        self._membership.opened(event.peer)
        link = Link(event.link, event.peer, event.outgoing, now)
        older = next((other for other in self.links.values() if other.peer == event.peer), None)
        if older is not None and not keeps_new_link(self._config.peer_id, event.peer, link.outgoing, older.outgoing):
            self._say_goodbye(link, Reason.DUPLICATE, "there is a link between the two already")
            return
        if older is not None:
            self.close(older, Reason.DUPLICATE, "a newer link takes its place", now)
        if len(self.links) >= self._config.links_max:
            self._say_goodbye(link, Reason.VIEW_FULL, "the view is full")
            return
        self._counters.links_opened += 1
        self.links[link.number] = link
        self.greet(link)

    def close(self, link: Link, reason: Reason, text: str, now: float) -> None:
        """Say goodbye and forget the link."""
        self._say_goodbye(link, reason, text)
        if reason not in _NO_FAILURE:
            self._membership.failed(link.peer, now)
        self.forget(link)

    def close_silent(self, now: float) -> None:
        """Close the links on which nothing valid has come for too long."""
        for link in list(self.links.values()):
            if now - link.heard_at >= self._config.link_timeout_s:
                self.close(link, Reason.MISBEHAVIOUR, "nothing was heard for too long", now)

    def taken_leave(self, link: Link, message: Goodbye, now: float) -> None:
        """Forget a link, greeted or not: a full view says goodbye without a greeting."""
        if message.reason is not Reason.DUPLICATE:
            self._membership.failed(link.peer, now)
        if message.reason is Reason.REPLACED:
            self._exchanges.hand_back(link)
        self.forget(link)
        self._outbox.act(CloseLink(link.number, message.reason, message.text))

    def forget(self, link: Link) -> None:
        """Drop what is known of a link and what is under way on it."""
        self.links.pop(link.number, None)
        self._counters.links_lost += 1
        self._exchanges.abandon(link)
        self._pulling.link_lost(link.number)

    def _say_goodbye(self, link: Link, reason: Reason, text: str) -> None:
        self._outbox.send(link, Goodbye(reason, text))
        self._outbox.act(CloseLink(link.number, reason, text))

    # -- what is said -------------------------------------------------------------------------------------------------

    def greet(self, link: Link) -> None:
        """Say Hello."""
        config = self._config
        self._outbox.send(
            link,
            Hello(
                limits.PROTOCOL_VERSION_MIN,
                limits.PROTOCOL_VERSION_MAX,
                config.kind,
                config.codecs_bitmap,
                link.greeted,
                config.peer_id,
                self._pulling.own_age,
                len(self._replica.initial),
                self._replica.slice_length,
                config.agent,
            ),
        )

    def greeted(self, link: Link, hello: Hello, now: float) -> bool:
        """Take a Hello; return whether it fits, and the link is used from now on."""
        if hello.peer_id != link.peer:
            self._outbox.refuse(link, "the link belongs to another peer than its greeting says")
            self.close(link, Reason.WRONG_PEER, "the greeting names another peer than the link's", now)
            return False
        if hello.version_min > limits.PROTOCOL_VERSION_MAX or hello.version_max < limits.PROTOCOL_VERSION_MIN:
            text = f"versions {hello.version_min} to {hello.version_max} are not spoken here"
            self.fault(link, Reason.VERSION, UnsupportedVersion(text), now)
            return False
        if (hello.parameter_count, hello.slice_length) != (len(self._replica.initial), self._replica.slice_length):
            self._outbox.refuse(link, "the other side's model or slices have another size")
            self.close(link, Reason.SHAPE, "the model or its slices have another size", now)
            return False
        link.heard_at = now
        link.kind = hello.kind
        link.age = hello.age
        link.greeted = True
        if not hello.heard:
            self.greet(link)
        self._refresh.greeted(link.peer, len(self.links))
        self._give_up_surplus(now)
        return True

    def fault(self, link: Link, reason: Reason, error: ProtocolError, now: float) -> None:
        """Close a link for a message that ends it."""
        self._counters.messages_refused += 1
        self._outbox.refuse(link, str(error))
        self.close(link, reason, str(error), now)

    def beat(self, link: Link, steps: int, samples_per_second: float, now: float) -> None:
        """Send a heartbeat."""
        delay_ms = int((now - link.echo_at) * 1000.0) if link.echo_ms else 0
        self._outbox.send(
            link,
            Heartbeat(
                int(now * 1000.0) & _WORD or 1,
                link.echo_ms,
                min(delay_ms, _WORD),
                self._pulling.own_age,
                steps & _WORD,
                samples_per_second,
            ),
        )

    def hear_beat(self, link: Link, beat: Heartbeat, now: float) -> None:
        """Take a heartbeat."""
        link.echo_ms, link.echo_at = beat.sent_ms, now
        link.age, link.steps, link.samples_per_second = beat.age, beat.steps, beat.samples_per_second
        if beat.echo_ms:
            round_trip_ms = ((int(now * 1000.0) & _WORD) - beat.echo_ms - beat.echo_delay_ms) & _WORD
            if round_trip_ms < _ROUND_TRIP_MAX_MS:
                link.round_trip_s = round_trip_ms / 1000.0
