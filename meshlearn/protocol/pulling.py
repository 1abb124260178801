"""Pulling the model: a newcomer's from its view, a stale peer's again, a tracker's from each peer in turn; and serving pulls."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from meshlearn.errors import PayloadRefused, ProtocolError
from meshlearn.protocol.actions import ModelPulled
from meshlearn.protocol.averaging import AGE_SLACK
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.link import Counters, Link
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.pull import ModelPull
from meshlearn.protocol.replica import Replica
from meshlearn.wire.codec import SliceCodec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind, PullReply, PullRequest, Status
from meshlearn.wire.quantise import Floats, dither_offset

# A peer this many times younger than most of its view has slept: it pulls the model anew instead of dragging the others back.
STALE_FACTOR = 4


class Pulling:
    """The newcomer's half of a peer (`begin`, `stale`), the tracker's, and the answers to both (`serve`)."""

    __slots__ = (
        "_config",
        "_counters",
        "_generator",
        "_outbox",
        "_pull",
        "_replica",
        "_slices",
        "_survey_at",
        "_surveys",
    )

    def __init__(
        self,
        config: PeerConfig,
        replica: Replica,
        generator: Generator,
        slices: SliceCodec,
        outbox: Outbox,
        counters: Counters,
    ) -> None:
        self._config = config
        self._replica = replica
        self._generator = generator
        self._slices = slices
        self._outbox = outbox
        self._counters = counters
        self._pull: ModelPull | None = None
        self._surveys: dict[int, _Survey] = {}
        self._survey_at = 0.0

    @property
    def active(self) -> bool:
        """Whether the own model is being pulled."""
        return self._pull is not None

    def begin(self, links: Collection[Link], now: float) -> bool:
        """Begin to pull the model where a greeted peer has one; return whether it has begun."""
        if not any(link.greeted and link.age > 0 for link in links):
            return False
        self._pull = ModelPull(self._replica.slice_count, self._generator.uint32(), now)
        return True

    def stale(self, links: Collection[Link], now: float) -> bool:
        """Return whether most of the view is far older than this peer, and begin to pull the model anew if so."""
        if self._pull is not None:
            return False
        ages = sorted(link.age for link in links if link.greeted and link.kind is not PeerKind.TRACKER)
        if not ages:
            return False
        median = ages[(len(ages) - 1) // 2]
        if median <= STALE_FACTOR * self._replica.oldest + 10 * AGE_SLACK:
            return False
        return self.begin(links, now)

    def keep_on(self, links: Mapping[int, Link], now: float) -> None:
        """Send the requests that are due, and ask again for what has not come."""
        if self._pull is not None:
            self._pull.expire(now - self._config.pull_timeout_s)
            sources = [link.number for link in links.values() if link.greeted and link.age > 0 and not link.congested]
            for pull_id, index, number in self._pull.ask(sources, now):
                self._outbox.send(links[number], PullRequest(pull_id, index, self._config.pull_codec))
        if not self._config.trains and now >= self._survey_at:
            self._begin_surveys(links, now)
        for survey in self._surveys.values():
            survey.pull.expire(now - self._config.pull_timeout_s)
            self._ask_survey(links, survey, now)

    def _begin_surveys(self, links: Mapping[int, Link], now: float) -> None:
        self._survey_at = now + self._config.evaluation_interval_s
        for link in links.values():
            if link.greeted and link.age > 0 and link.kind is not PeerKind.TRACKER and link.number not in self._surveys:
                pull = ModelPull(self._replica.slice_count, self._generator.uint32(), now)
                self._surveys[link.number] = _Survey(link, pull, np.zeros(len(self._replica.initial), np.float32))

    def _ask_survey(self, links: Mapping[int, Link], survey: _Survey, now: float) -> None:
        for pull_id, index, number in survey.pull.ask([survey.link.number], now):
            self._outbox.send(links[number], PullRequest(pull_id, index, self._config.pull_codec))

    def link_lost(self, number: int) -> None:
        """Forget what a link that is gone was asked for."""
        self._surveys.pop(number, None)
        if self._pull is not None:
            self._pull.link_lost(number)

    def take_complete(self) -> bool:
        """Return, once, that the own model has been pulled."""
        if self._pull is None or not self._pull.complete:
            return False
        self._pull = None
        return True

    def answered(self, link: Link, reply: PullReply) -> None:
        """Take the answer to a pull; one that was not asked for is ignored. Raises ProtocolError where its payload is wrong."""
        survey = self._surveys.get(link.number)
        if survey is not None and survey.pull.answered(reply.pull_id, link.number, reply.slice_index):
            self._answered_survey(link, survey, reply)
            return
        if self._pull is None or not self._pull.answered(reply.pull_id, link.number, reply.slice_index):
            return
        if reply.status is not Status.APPLIED:
            # Put back; the link has no model after all, until its next heartbeat says otherwise.
            link.age = 0
            self._pull.missing(reply.slice_index)
            return
        try:
            values = self._decode(reply)
        except ProtocolError:
            self._pull.missing(reply.slice_index)
            raise
        self._replica.place(reply.slice_index, values, reply.age)
        self._counters.slices_pulled += 1

    def _answered_survey(self, link: Link, survey: _Survey, reply: PullReply) -> None:
        if reply.status is not Status.APPLIED:
            del self._surveys[link.number]
            return
        start, stop = self._replica.bounds(reply.slice_index)
        survey.displacement[start:stop] = self._decode(reply)
        survey.age = max(survey.age, reply.age)
        self._counters.slices_pulled += 1
        if survey.pull.complete:
            del self._surveys[link.number]
            self._outbox.act(ModelPulled(link.peer, survey.displacement, survey.age))

    def _decode(self, reply: PullReply) -> Floats:
        start, stop = self._replica.bounds(reply.slice_index)
        if reply.count != stop - start:
            raise PayloadRefused(f"slice {reply.slice_index} has {stop - start} values and {reply.count} came")
        offset = dither_offset(reply.pull_id, 0)
        values = self._slices.decode(
            reply.codec,
            reply.payload,
            reply.compressed,
            reply.count,
            offset,
            reply.checksum,
            self._replica.initial,
        )
        if not np.isfinite(values).all():
            raise PayloadRefused("a pulled slice holds a value that is not finite")
        return values

    def serve(self, link: Link, request: PullRequest, ready: bool) -> None:
        """Answer a pull with the slice's displacement; raises PayloadRefused where there is no such slice."""
        if request.slice_index >= self._replica.slice_count:
            raise PayloadRefused(f"slice {request.slice_index} was asked for and there are {self._replica.slice_count}")
        start, stop = self._replica.bounds(request.slice_index)
        age = self._replica.age(request.slice_index)
        status = Status.BUSY if link.congested else Status.APPLIED if ready else Status.NOT_READY
        if status is not Status.APPLIED:
            self._reply(link, request, status, age, stop - start)
            return
        encoded = self._slices.encode(
            request.codec, self._replica.displacement(request.slice_index), dither_offset(request.pull_id, 0)
        )
        self._counters.slices_served += 1
        self._outbox.send(
            link,
            PullReply(
                request.pull_id,
                request.slice_index,
                request.codec,
                status,
                age,
                stop - start,
                encoded.checksum,
                encoded.compressed,
                encoded.payload,
            ),
        )

    def _reply(self, link: Link, request: PullRequest, status: Status, age: int, count: int) -> None:
        self._outbox.send(
            link,
            PullReply(request.pull_id, request.slice_index, request.codec, status, age, count, 0, False, b""),
        )


class _Survey:
    """A tracker's pull of one peer's whole model."""

    __slots__ = ("age", "displacement", "link", "pull")

    def __init__(self, link: Link, pull: ModelPull, displacement: Floats) -> None:
        self.link = link
        self.pull = pull
        self.displacement = displacement
        self.age = 0
