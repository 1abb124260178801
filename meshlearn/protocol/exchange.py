"""Pairwise slice exchange: begin, serve, finish; retries with a wider range, repeats that change nothing.

Symmetric by construction: both sides compute with the same two decoded slices. The side that asks keeps its slice *as the
other side decodes it*; that is the reference of the answer, so the answering side knows the distance exactly, takes the
smallest step that covers it, and its answer cannot decode wrongly. Training goes on meanwhile: what is applied is a change.
"""

from __future__ import annotations

import numpy as np

from meshlearn.errors import ChecksumMismatch, PayloadRefused
from meshlearn.protocol.actions import Averaged
from meshlearn.protocol.admission import Admission
from meshlearn.protocol.averaging import AveragingRule, Contribution, believed_age
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.link import Counters, Link, Outstanding, Served
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.ranges import Disagreement
from meshlearn.protocol.replica import Replica
from meshlearn.protocol.tokens import TokenAccount
from meshlearn.wire.codec import Codec, SliceCodec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import ExchangeReply, ExchangeRequest, Status
from meshlearn.wire.quantise import Floats, block_maxima, dither_offset

ATTEMPTS_MAX = 3
# Tag bits of an exchange id: the upper half is drawn once by each peer, the lower half counts its exchanges.
_COUNTER_SPAN = 1 << 32


class Exchanges:
    """The averaging half of a peer. `Peer` tells it of ticks and messages; it writes to the outbox."""

    __slots__ = (
        "_admission",
        "_codec",
        "_config",
        "_counters",
        "_disagreement",
        "_generator",
        "_next_id",
        "_outbox",
        "_replica",
        "_rule",
        "_slices",
        "diverged",
        "tokens",
    )

    def __init__(
        self,
        config: PeerConfig,
        replica: Replica,
        rule: AveragingRule,
        generator: Generator,
        slices: SliceCodec,
        outbox: Outbox,
        counters: Counters,
    ) -> None:
        self._config = config
        self._replica = replica
        self._rule = rule
        self._generator = generator
        self._slices = slices
        self._outbox = outbox
        self._counters = counters
        self._codec = config.codec
        self._admission = Admission(config.norm_factor, config.clip_factor)
        self._disagreement = Disagreement(len(replica.initial), replica.slice_length)
        self._next_id = generator.uint32() * _COUNTER_SPAN + 1
        self.tokens = TokenAccount(config.token_capacity, config.token_grant)
        self.diverged = False
        """Whether an own slice could not be sent: training has made values that are not finite, or immense."""

    def tick(self, links: list[Link], now: float) -> None:
        """Perhaps begin an exchange with one of `links` (those that may be asked now), which must not be empty.

        Draws one word for the token account; where an exchange begins, one for the link and one for the slice.
        """
        if not self.tokens.tick(self._generator):
            return
        link = links[self._generator.below(len(links))]
        index = self._generator.below(self._replica.slice_count)
        if self._request(link, self._next_id, 0, index, now):
            self.tokens.spend()
            self._next_id += 1
            self._counters.exchanges_begun += 1

    def _request(self, link: Link, exchange_id: int, attempt: int, index: int, now: float) -> bool:
        """Send a request; return False where the own slice cannot be sent, or has absorbed no step yet."""
        age = self._replica.age(index)
        if age == 0:
            return False
        values = self._replica.displacement(index)
        codec = self._codec_of_attempt(attempt, index)
        reach = self._disagreement.reach(index, codec, widened=attempt > 0) if codec.is_modular else None
        try:
            encoded = self._slices.encode(codec, values, dither_offset(exchange_id, 2 * attempt), reach)
        except PayloadRefused:
            self.diverged = True
            return False
        message = self._outbox.encode(
            ExchangeRequest(
                exchange_id,
                attempt,
                codec,
                index,
                age,
                len(values),
                encoded.checksum,
                encoded.compressed,
                encoded.payload,
            )
        )
        link.outstanding = Outstanding(exchange_id, attempt, codec, index, age, encoded.rounded, message, now)
        self._outbox.send_bytes(link, message)
        return True

    def _codec_of_attempt(self, attempt: int, index: int) -> Codec:
        """First the run's codec, then (after a wrong decode, wider) 8 bits, then no reference at all."""
        codec = self._codec
        if not codec.is_modular:
            return codec
        if attempt == ATTEMPTS_MAX - 1 or not self._disagreement.known(index):
            return Codec.LINEAR8
        return codec if attempt == 0 else Codec.MODULAR8

    def serve(self, link: Link, request: ExchangeRequest, ready: bool, now: float) -> None:
        """Answer a request, and apply its slice.

        Raises PayloadRefused or ChecksumMismatch where the payload is wrong in itself; nothing is changed or sent then.
        """
        index = request.slice_index
        self._check_shape(index, request.count)
        served = link.served
        if served is not None:
            if (served.exchange_id, served.attempt) == (request.exchange_id, request.attempt):
                self._counters.exchanges_repeated += 1
                if not link.congested:
                    self._outbox.send_bytes(link, served.message)
                return
            if (request.exchange_id, request.attempt) < (served.exchange_id, served.attempt):
                self._counters.exchanges_repeated += 1
                return
        # A slice that has absorbed nothing has nothing to give, and nothing to measure a partner's by.
        if not ready or self._replica.age(index) == 0:
            self._decline(link, request, Status.NOT_READY)
            return
        if not link.allowance.take(now, self._config.exchange_interval_s) or link.congested:
            self._decline(link, request, Status.BUSY)
            return
        own = self._replica.displacement(index)
        try:
            partner = self._slices.decode(
                request.codec,
                request.payload,
                request.compressed,
                request.count,
                dither_offset(request.exchange_id, 2 * request.attempt),
                request.checksum,
                own,
            )
        except ChecksumMismatch:
            self._counters.wrong_decodes += 1
            if not request.codec.is_modular:
                raise
            self._decline(link, request, Status.WIDEN)
            return
        self._answer(link, request, own, partner)

    def _answer(self, link: Link, request: ExchangeRequest, own: Floats, partner: Floats) -> None:
        index = request.slice_index
        # A diverged slice may overflow here; it is then not sent.
        with np.errstate(over="ignore", invalid="ignore"):
            distance = block_maxima(own - partner)
        codec = self._codec
        lane = 2 * request.attempt + 1
        # The reference of the answer is `partner`, to the bit: the distance is known, and no slack is needed.
        try:
            encoded = self._slices.encode(
                codec, own, dither_offset(request.exchange_id, lane), distance if codec.is_modular else None
            )
        except PayloadRefused:
            self.diverged = True
            self._decline(link, request, Status.NOT_READY)
            return
        age = self._replica.age(index)
        mine, theirs = (
            Contribution(encoded.rounded, age),
            Contribution(partner, believed_age(age, request.age)),
        )
        # Judged by the own slice as it is: a far slice makes a coarse step, and what is rounded to it is far, too.
        if not self._apply(link, request.exchange_id, index, mine, theirs, own, distance):
            self._decline(link, request, Status.REFUSED)
            return
        reply = self._outbox.encode(
            ExchangeReply(
                request.exchange_id,
                request.attempt,
                Status.APPLIED,
                codec,
                index,
                age,
                request.count,
                encoded.checksum,
                encoded.compressed,
                encoded.payload,
            )
        )
        link.served = Served(request.exchange_id, request.attempt, reply)
        self._outbox.send_bytes(link, reply)

    def _decline(self, link: Link, request: ExchangeRequest, status: Status) -> None:
        reply = self._outbox.encode(
            ExchangeReply(
                request.exchange_id,
                request.attempt,
                status,
                request.codec,
                request.slice_index,
                self._replica.age(request.slice_index),
                request.count,
                0,
                False,
                b"",
            )
        )
        link.served = Served(request.exchange_id, request.attempt, reply)
        self._outbox.send_bytes(link, reply)

    def finish(self, link: Link, reply: ExchangeReply, now: float) -> None:
        """Take the answer to the exchange that is outstanding on the link; one to any other is ignored.

        Raises PayloadRefused or ChecksumMismatch where the payload is wrong; the exchange is over then, and nothing is changed.
        """
        begun = link.outstanding
        if begun is None or (begun.exchange_id, begun.attempt) != (reply.exchange_id, reply.attempt):
            return
        if reply.slice_index != begun.slice_index or reply.count != len(begun.rounded):
            raise PayloadRefused("an answer is about another slice than the request")
        link.outstanding = None
        if reply.status is Status.WIDEN:
            self._widen(link, begun, now)
            return
        if reply.status is not Status.APPLIED:
            self._counters.exchanges_declined += 1
            return
        try:
            partner = self._slices.decode(
                reply.codec,
                reply.payload,
                reply.compressed,
                reply.count,
                dither_offset(reply.exchange_id, 2 * reply.attempt + 1),
                reply.checksum,
                begun.rounded,
            )
        except ChecksumMismatch:
            self._counters.wrong_decodes += 1
            raise
        self.tokens.refund()
        mine = Contribution(begun.rounded, begun.age)
        theirs = Contribution(partner, believed_age(begun.age, reply.age))
        distance = block_maxima(begun.rounded - partner)
        self._apply(link, begun.exchange_id, begun.slice_index, mine, theirs, begun.rounded, distance)

    def _widen(self, link: Link, begun: Outstanding, now: float) -> None:
        attempt = begun.attempt + 1
        if attempt >= ATTEMPTS_MAX:
            self._counters.exchanges_abandoned += 1
            return
        if self._request(link, begun.exchange_id, attempt, begun.slice_index, now):
            self._counters.exchanges_retried += 1
        else:
            self._counters.exchanges_abandoned += 1

    def abandon(self, link: Link) -> None:
        """Give up the exchange that is outstanding on the link, if there is one."""
        if link.outstanding is not None:
            link.outstanding = None
            self._counters.exchanges_abandoned += 1

    def hand_back(self, link: Link) -> None:
        """The other side has replaced the link, in order: what is outstanding was not applied there, and is paid back."""
        if link.outstanding is not None:
            self.abandon(link)
            self.tokens.refund()

    def _apply(
        self,
        link: Link,
        exchange_id: int,
        index: int,
        own: Contribution,
        partner: Contribution,
        measure: Floats,
        distance: Floats,
    ) -> bool:
        """Average, judge by the norm of `measure`, apply; return False where the partner's slice was not admitted.

        `distance` float32 [blocks] is the largest |partner - own|; it counts for the range where the change was not cut, so that
        nobody widens it with slices that are far away.
        """
        change = self._rule.change(own, partner)
        try:
            admitted = self._admission.admit(measure, own.age, partner.values, partner.age, change)
        except PayloadRefused as error:
            self._counters.exchanges_refused += 1
            link.offences += 1
            self._outbox.refuse(link, str(error))
            return False
        start, stop = self._replica.bounds(index)
        steps = self._replica.steps_since_averaged(index)
        # A slice that goes a part of the way has a part of the lead: it must not speak with the weight of what it is not.
        lead = max(0, partner.age - own.age)
        self._replica.apply(index, admitted.change, own.age + int(lead * admitted.share))
        self._rule.averaged(start, stop, admitted.change, steps)
        if not admitted.clipped:
            self._disagreement.observe(index, distance)
        self._counters.exchanges_accepted += 1
        self._counters.exchanges_clipped += admitted.clipped
        weight = self._rule.weight(own.age, partner.age)
        self._outbox.act(Averaged(link.number, link.peer, index, exchange_id, weight, admitted.clipped, admitted.norm))
        return True

    def expire(self, link: Link, now: float) -> None:
        """Send an unanswered request again, and give it up after the last time; the answer to a repeat is the same."""
        begun = link.outstanding
        if begun is None or now < begun.sent_at + self._config.exchange_timeout_s or link.congested:
            return
        if begun.resends >= self._config.exchange_resends_max:
            self.abandon(link)
            return
        begun.resends += 1
        begun.sent_at = now
        self._counters.exchanges_resent += 1
        self._outbox.send_bytes(link, begun.message)

    def _check_shape(self, index: int, count: int) -> None:
        if index >= self._replica.slice_count:
            raise PayloadRefused(f"slice {index} was asked for and there are {self._replica.slice_count}")
        start, stop = self._replica.bounds(index)
        if count != stop - start:
            raise PayloadRefused(f"slice {index} has {stop - start} values and {count} came")
