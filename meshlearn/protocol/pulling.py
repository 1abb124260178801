"""Pulling the model: a newcomer's from its view, a stale peer's again, a tracker's from each peer in turn; and serving pulls."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from meshlearn.errors import PayloadRefused, ProtocolError
from meshlearn.protocol.actions import ModelPulled
from meshlearn.protocol.averaging import AGE_SLACK, believed_age
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.link import Counters, Link
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.pull import Asked, ModelPull
from meshlearn.protocol.replica import Replica
from meshlearn.wire.codec import SliceCodec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind, PullReply, PullRequest, Status
from meshlearn.wire.quantise import Floats, dither_offset

# A peer this many times younger than most of its view has slept: it pulls the model anew instead of dragging the others back.
STALE_FACTOR = 4
# A pull that has ended, well or not, is not followed by another one for this long.
PULL_PAUSE_S = 30.0


def _behind(age: int, median: int) -> bool:
    """Whether an age is far behind the median of a view; who has not trained at all has nothing to lose by pulling."""
    return median > (STALE_FACTOR * age + 10 * AGE_SLACK if age else 0)


class Pulling:
    """The newcomer's half of a peer (`begin`, `stale`), the tracker's, and the answers to both (`serve`)."""

    __slots__ = (
        "_config",
        "_counters",
        "_generator",
        "_outbox",
        "_pull",
        "_pull_not_before",
        "_replica",
        "_slices",
        "_survey_at",
        "_surveys",
        "ready",
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
        self._pull_not_before = -math.inf
        self._surveys: dict[int, _Survey] = {}
        self._survey_at = 0.0
        self.ready = False
        """Whether the model is there, so that training may go on and requests are answered."""

    @property
    def own_age(self) -> int:
        """The age of the oldest slice as others are told it: 0 without a model."""
        return self._replica.oldest if self.ready else 0

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

    def stale(self, links: Collection[Link]) -> bool:
        """Return whether most of the view is far older than this peer."""
        ages = sorted(link.age for link in links if link.greeted and link.kind is not PeerKind.TRACKER)
        return bool(ages) and _behind(self._replica.oldest, ages[(len(ages) - 1) // 2])

    def begin_again(self, links: Collection[Link], now: float) -> bool:
        """Begin to pull the model anew, where none is being pulled and none was lately; return whether it has begun."""
        return self._pull is None and now >= self._pull_not_before and self.begin(links, now)

    def keep_on(self, links: Mapping[int, Link], now: float) -> None:
        """Send the requests that are due, and ask again for what has not come."""
        if self._pull is not None:
            self._pull.expire(now - self._config.pull_timeout_s)
            for pull_id, index, number in self._pull.ask(self._sources(links.values()), now):
                self._outbox.send(links[number], PullRequest(pull_id, index, self._config.pull_codec))
        if not self._config.trains and now >= self._survey_at:
            self._begin_surveys(links, now)
        for survey in self._surveys.values():
            survey.pull.expire(now - self._config.pull_timeout_s)
            self._ask_survey(links, survey, now)

    def _sources(self, links: Collection[Link]) -> list[int]:
        """Return the links that have a model, and not one that is itself far behind the others'."""
        median = _median_age(links) or 0
        return [
            link.number
            for link in links
            if link.greeted and link.age > 0 and not link.congested and not _behind(link.age, median)
        ]

    def _begin_surveys(self, links: Mapping[int, Link], now: float) -> None:
        self._survey_at = now + self._config.evaluation_interval_s
        for link in links.values():
            if link.greeted and link.age > 0 and link.kind is not PeerKind.TRACKER and link.number not in self._surveys:
                pull = ModelPull(self._replica.slice_count, self._generator.uint32(), now)
                self._surveys[link.number] = _Survey(link, pull, self._replica)

    def _ask_survey(self, links: Mapping[int, Link], survey: _Survey, now: float) -> None:
        for pull_id, index, number in survey.pull.ask([survey.link.number], now):
            self._outbox.send(links[number], PullRequest(pull_id, index, self._config.pull_codec))

    def link_lost(self, number: int) -> None:
        """Forget what a link that is gone was asked for."""
        self._surveys.pop(number, None)
        if self._pull is not None:
            self._pull.link_lost(number)

    def take_ended(self, now: float) -> bool | None:
        """Return, once, that the pull of the own model has ended: True where slices came, and None while it goes on.

        It ends when every slice is there, and also when none has come for `join_timeout_s`: a part of a model and its own age of
        each slice are better than a peer that waits for ever.
        """
        pull = self._pull
        if pull is None or not (pull.complete or now - pull.progress_at >= self._config.join_timeout_s):
            return None
        self._pull = None
        self._pull_not_before = now + PULL_PAUSE_S
        return pull.begun

    def answered(self, links: Collection[Link], link: Link, reply: PullReply, now: float) -> None:
        """Take the answer to a pull; one that was not asked for is ignored. Raises ProtocolError where its payload is wrong."""
        survey = self._surveys.get(link.number)
        if survey is not None and (asked := survey.pull.answered(reply.pull_id, link.number, reply.slice_index)):
            self._answered_survey(link, survey, asked, reply, now)
            return
        pull = self._pull
        if pull is None or (asked := pull.answered(reply.pull_id, link.number, reply.slice_index)) is None:
            return
        values = self._taken(link, pull, asked, reply)
        if values is None:
            # The link has no model after all, until its next heartbeat says otherwise.
            link.age = 0
            return
        median = _median_age(links)
        # Nobody can prove an age: that of a pulled slice is believed as far as the view bears it out.
        age = reply.age if median is None else believed_age(median, reply.age)
        self._replica.place(reply.slice_index, values, age)
        pull.received(asked, now)

    def _answered_survey(self, link: Link, survey: _Survey, asked: Asked, reply: PullReply, now: float) -> None:
        values = self._taken(link, survey.pull, asked, reply)
        if values is None:
            del self._surveys[link.number]
            return
        start, stop = self._replica.bounds(reply.slice_index)
        survey.displacement[start:stop] = values
        survey.ages[reply.slice_index] = reply.age
        survey.pull.received(asked, now)
        if survey.pull.complete:
            del self._surveys[link.number]
            # What a tracker serves to newcomers is the last model that it has seen.
            for index, age in enumerate(survey.ages):
                start, stop = self._replica.bounds(index)
                self._replica.place(index, survey.displacement[start:stop], age)
            self._outbox.act(ModelPulled(link.peer, survey.displacement, max(survey.ages)))

    def _taken(self, link: Link, pull: ModelPull, asked: Asked, reply: PullReply) -> Floats | None:
        """Return the slice of an answer; None, and the slice is put back, where it was declined."""
        if reply.status is not Status.APPLIED:
            pull.declined(asked)
            return None
        try:
            values = self._decode(reply)
        except ProtocolError:
            pull.declined(asked)
            raise
        self._counters.slices_pulled += 1
        return values

    def _decode(self, reply: PullReply) -> Floats:
        start, stop = self._replica.bounds(reply.slice_index)
        if reply.count != stop - start:
            raise PayloadRefused(f"slice {reply.slice_index} has {stop - start} values and {reply.count} came")
        offset = dither_offset(reply.pull_id, 0)
        return self._slices.decode(
            reply.codec,
            reply.payload,
            reply.compressed,
            reply.count,
            offset,
            reply.checksum,
            self._replica.initial,
        )

    def surveys(self, link: Link) -> bool:
        """Return whether a tracker's pull is under way on the link."""
        return link.number in self._surveys

    def serve(self, link: Link, request: PullRequest, now: float) -> None:
        """Answer a pull with the slice's displacement; raises PayloadRefused where there is no such slice."""
        if request.slice_index >= self._replica.slice_count:
            raise PayloadRefused(f"slice {request.slice_index} was asked for and there are {self._replica.slice_count}")
        link.asked_at = now
        start, stop = self._replica.bounds(request.slice_index)
        age = self._replica.age(request.slice_index)
        status = Status.BUSY if link.congested else Status.APPLIED if self.ready else Status.NOT_READY
        if status is not Status.APPLIED:
            self._reply(link, request, status, age, stop - start)
            return
        displacement = self._replica.displacement(request.slice_index)
        try:
            encoded = self._slices.encode(request.codec, displacement, dither_offset(request.pull_id, 0))
        except PayloadRefused:
            # The own training has diverged, or the codec cannot say it.
            self._reply(link, request, Status.NOT_READY, age, stop - start)
            return
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


def _median_age(links: Collection[Link]) -> int | None:
    """Return the lower median of the ages that the view tells, of those that have a model; None where nobody has."""
    ages = sorted(link.age for link in links if link.greeted and link.age > 0 and link.kind is not PeerKind.TRACKER)
    return ages[(len(ages) - 1) // 2] if ages else None


class _Survey:
    """A tracker's pull of one peer's whole model."""

    __slots__ = ("ages", "displacement", "link", "pull")

    def __init__(self, link: Link, pull: ModelPull, replica: Replica) -> None:
        self.link = link
        self.pull = pull
        self.displacement = np.zeros(len(replica.initial), np.float32)
        self.ages = [0] * replica.slice_count
