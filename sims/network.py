"""The network: latency, bandwidth, loss, duplication, reordering, partitions and NATs, one frame at a time.

A link is two pipes. A frame waits for its sender's uplink (one queue a peer), then for what the pipe itself can carry, is on its
way for half a round trip, and waits for the receiver's downlink. Under `retransmit` a lost packet is what it is on a
reliable, ordered channel: a delay of a round trip to the frame and to all that follow it, and a bound on the throughput,
1.22 segments of 1,200 bytes a round trip over the root of the loss (Mathis, Semke, Mahdavi & Ott 1997). Under `drop`
whole messages are lost.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from meshlearn.errors import SettingsError
from meshlearn.wire import limits
from sims.clock import Clock, Op
from sims.laws import Constant, Law
from sims.node import Node, Pipe
from sims.scenario import Scenario
from sims.seeds import Seeds, Stream, pair_uniform

PACKET_BYTES = 1_200
# UDP, DTLS and SCTP headers of one packet.
PACKET_OVERHEAD_BYTES = 80
BITS_A_BYTE = 8.0
# A reliable channel gives up on the other side after this long; what a cut or a sleep holds back for less is delivered late.
PATIENCE_S = 30.0
# What leaves sooner is not worth the bookkeeping: at 8 Gbit/s a mebibyte, the threshold, takes longer.
QUEUED_FROM_S = 0.001
MS_A_UNIT = {"us": 1e-3, "ms": 1.0, "s": 1e3}
# A matrix of so many peers takes 200 MB; the King data set has 1,740.
MATRIX_PEERS_MAX = 5_000
# No network has such a median; a file that gives it is in another unit.
MEDIAN_MS_MAX = 10_000.0


def wire_bytes(count: int) -> int:
    """Return what `count` bytes of a channel take on the wire, headers of all packets included."""
    return count + PACKET_OVERHEAD_BYTES * -(-count // PACKET_BYTES)


class Network:
    """Carries frames between nodes and tells what became of them; `bytes_sent` counts what left the uplinks."""

    def __init__(self, scenario: Scenario, clock: Clock, seeds: Seeds) -> None:
        self._clock = clock
        self._chance: Stream = seeds.child("network").stream()
        self._pair_seed = seeds.child("pairs").integer() & 0xFFFF_FFFF
        latency, faults = scenario.latency, scenario.faults
        self._law: Law = latency.round_trip_ms
        self._per_message = latency.per == "message"
        self._jitter = latency.jitter
        self._constant = isinstance(latency.round_trip_ms, Constant) and not latency.jitter
        self._matrix = _matrix_of(scenario)
        self._by_region = bool(latency.regions)
        self._law_median = latency.round_trip_ms.draw(0.5)
        self._loss = faults.loss
        self._drops = faults.mode == "drop"
        self._duplication = faults.duplication
        self._reordering = faults.reordering
        self._reordering_s = faults.reordering_ms / 1000.0
        self._relay = faults.relay
        self._relay_factor = faults.relay_factor
        self._unreachable = faults.unreachable
        self.heals_at = 0.0
        """Until then nodes of different groups do not hear each other."""
        self.bytes_sent = 0
        self.frames_sent = 0
        self.frames_lost = 0
        self.on_congested: Callable[[Pipe], None] | None = None
        self._plain = not (self._loss or self._duplication or self._reordering or self._jitter or self._per_message)

    # -- pairs --------------------------------------------------------------------------------------------------------

    def round_trip_s(self, one: Node, other: Node) -> float:
        """Return the round trip of a pair, in seconds; the same whenever it is asked for."""
        uniform = pair_uniform(self._pair_seed, one.number, other.number)
        if self._matrix is not None:
            if self._by_region:
                milliseconds = float(self._matrix[one.region, other.region])
                if self._law_median:
                    milliseconds *= self._law.draw(uniform) / self._law_median
            else:
                size = len(self._matrix)
                milliseconds = float(self._matrix[one.number % size, other.number % size])
        else:
            milliseconds = self._law.draw(uniform)
        seconds = milliseconds / 1000.0
        return seconds * self._relay_factor if self._relay and self.relayed(one, other) else seconds

    def relayed(self, one: Node, other: Node) -> bool:
        """Return whether the pair's messages go over a relay."""
        if "relayed" in (one.nat, other.nat):
            return True
        if "open" in (one.nat, other.nat):
            return False
        return pair_uniform(self._pair_seed ^ 0x5EED_0001, one.number, other.number) < self._relay

    def reachable(self, one: Node, other: Node) -> bool:
        """Return whether the pair can have a link at all: NATs allow it and no cut is between them."""
        if one.group != other.group and self._clock.now < self.heals_at:
            return False
        if one.nat == "unreachable" and other.nat == "unreachable":
            return False
        if "open" in (one.nat, other.nat) or not self._unreachable:
            return True
        return pair_uniform(self._pair_seed ^ 0x5EED_0002, one.number, other.number) >= self._unreachable

    def pipe(self, sender: Node, sender_link: int, receiver: Node, link: int) -> Pipe:
        """Return a new direction of a link."""
        round_trip_s = self.round_trip_s(sender, receiver)
        rate = receiver.read_bytes_per_s
        if self._loss and not self._drops and round_trip_s > 0:
            rate = min(rate, 1.22 * PACKET_BYTES / (round_trip_s * math.sqrt(self._loss)))
        return Pipe(sender, sender_link, receiver, link, round_trip_s / 2.0, rate)

    # -- frames -------------------------------------------------------------------------------------------------------

    def send(self, pipe: Pipe, frame: Any, size: int) -> None:
        """Put a frame of `size` bytes into a pipe; what it is matters to the receiver alone."""
        wire = size + PACKET_OVERHEAD_BYTES * -(-size // PACKET_BYTES)
        self.bytes_sent += wire
        self.frames_sent += 1
        sender, clock = pipe.sender, self._clock
        now = clock.now
        gone_at = now
        if sender.up_bytes_per_s:
            gone_at = (sender.up_free_at if sender.up_free_at > now else now) + wire / sender.up_bytes_per_s
            sender.up_free_at = gone_at
        if pipe.rate != math.inf:
            begin = pipe.free_at if pipe.free_at > now else now
            gone_at = max(gone_at, begin + wire / pipe.rate)
            pipe.free_at = gone_at
        if gone_at > now + QUEUED_FROM_S:
            self._queue(pipe, gone_at, size)
        if self._plain:
            arrival = gone_at + pipe.half_trip_s
        else:
            found = self._fate(pipe, size, gone_at)
            if found is None:
                return
            arrival = found
        if pipe.receiver.group != sender.group and now < self.heals_at:
            if self._drops or self.heals_at - now > PATIENCE_S:
                self.frames_lost += 1
                return
            arrival = self.heals_at + pipe.half_trip_s
        if self._reordering and self._chance.uniform() < self._reordering:
            clock.at(arrival + self._reordering_s, Op.ARRIVE, pipe, frame, wire)
            return
        if arrival < pipe.arrived_at:
            arrival = pipe.arrived_at
        else:
            pipe.arrived_at = arrival
        clock.at(arrival, Op.ARRIVE, pipe, frame, wire)
        if self._duplication and self._chance.uniform() < self._duplication:
            clock.at(arrival + pipe.half_trip_s, Op.ARRIVE, pipe, frame, wire)

    def _fate(self, pipe: Pipe, size: int, gone_at: float) -> float | None:
        """Return when the frame arrives; None where it is lost."""
        half_trip_s = pipe.half_trip_s
        chance = self._chance
        if self._per_message and not self._constant:
            half_trip_s = self._law.draw(chance.uniform()) / 2000.0
        if self._jitter:
            half_trip_s *= 1.0 + self._jitter * chance.uniform()
        arrival = gone_at + half_trip_s
        loss = self._loss
        if loss:
            if self._drops:
                if chance.uniform() < loss:
                    self.frames_lost += 1
                    return None
            else:
                lost = 1.0 - (1.0 - loss) ** -(-size // PACKET_BYTES)
                while chance.uniform() < lost:
                    arrival += 2.0 * half_trip_s
                    lost = loss
        return arrival

    def download(self, pipe: Pipe, wire: int) -> float:
        """Return when a frame of `wire` bytes whose last one arrives now is through the receiver's downlink."""
        now, receiver, sender = self._clock.now, pipe.receiver, pipe.sender
        if not receiver.down_bytes_per_s:
            return now
        # The first byte came as much earlier as the uplink took: a downlink that is no slower costs no time of its own.
        first_at = now - wire / sender.up_bytes_per_s if sender.up_bytes_per_s else now
        begin = first_at if first_at > receiver.down_free_at else receiver.down_free_at
        through_at = begin + wire / receiver.down_bytes_per_s
        through_at = max(through_at, now)
        receiver.down_free_at = through_at
        return through_at

    def _queue(self, pipe: Pipe, gone_at: float, size: int) -> None:
        queue = pipe.queue
        if queue is None:
            queue = pipe.queue = deque()
        now = self._clock.now
        while queue and queue[0][0] <= now:
            queue.popleft()
        queue.append((gone_at, size))
        if not pipe.congested and self._schedule_drain(pipe):
            pipe.congested = True
            if self.on_congested is not None:
                self.on_congested(pipe)

    def _schedule_drain(self, pipe: Pipe) -> bool:
        """Return whether too much waits; then DRAIN is due when what waits now will have fallen under the threshold."""
        waiting = 0
        for until, count in reversed(pipe.queue or ()):
            if until <= self._clock.now:
                return False
            waiting += count
            if waiting > limits.BUFFERED_BYTES_HIGH:
                self._clock.at(until, Op.DRAIN, pipe)
                return True
        return False

    def drained(self, pipe: Pipe) -> bool:
        """Return whether a pipe takes frames again; where more has been sent meanwhile, DRAIN is due later."""
        pipe.congested = self._schedule_drain(pipe)
        return not pipe.congested

    @staticmethod
    def buffered_bytes(pipe: Pipe, now: float) -> int:
        """Return what waits at the sender's side of a pipe."""
        return sum(size for gone_at, size in pipe.queue if gone_at > now) if pipe.queue else 0


def _matrix_of(scenario: Scenario) -> np.ndarray | None:
    latency = scenario.latency
    if latency.file:
        return read_matrix(Path(latency.file), latency.unit)
    if latency.regions:
        return np.array(latency.matrix_ms, np.float64)
    return None


def read_matrix(path: Path, unit: str = "ms") -> np.ndarray:
    """Read round trips in `unit`, return them in ms, float64 [n, n]. The file has rows of numbers, or lines "i j round-trip".

    Such lines, from 1 and in microseconds, are the King data set's (Gummadi, Saroiu & Gribble 2002). A missing or negative entry
    (King has -1) becomes the median of the rest. Raises SettingsError, where the unit cannot be right too.
    """
    try:
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        rows = [[float(word) for word in line.split()] for line in lines if line.strip() and not line.startswith("#")]
    except OSError as problem:
        raise SettingsError(f"The round trips in {path} cannot be read: {problem.strerror}.") from None
    except (ValueError, UnicodeDecodeError):
        raise SettingsError(
            f"{path} must hold numbers alone: round trips, one row a peer, or lines of i, j and the round trip."
        ) from None
    width = len(rows[0]) if rows else 0
    if not rows or any(len(row) != width for row in rows):
        raise SettingsError(f"{path} must hold rows of equal length: round trips, one row a peer.")
    if width == 3 and (len(rows) != 3 or _names_pairs(rows)):
        matrix = _matrix_of_pairs(path, rows)
    elif width == len(rows):
        matrix = np.array(rows)
    else:
        raise SettingsError(f"{path} has {len(rows)} rows of {width} numbers; a matrix of round trips is square.")
    matrix *= MS_A_UNIT[unit]
    known = np.isfinite(matrix) & (matrix > 0)
    if not known.any():
        raise SettingsError(f"{path} holds no round trip that is more than 0 ms.")
    median = float(np.median(matrix[known]))
    if median > MEDIAN_MS_MAX:
        raise SettingsError(
            f"Half of the round trips in {path} would take more than {median / 1000.0:,.0f} s; set latency.unit to what they "
            'are in: "us" for microseconds, as in the King data set, "ms" or "s".'
        )
    return np.where(known, matrix, median)


def _names_pairs(rows: list[list[float]]) -> bool:
    """Return whether three rows of three numbers are lines of i, j and a round trip: a matrix has zeros or is symmetric."""
    whole = all(one.is_integer() and other.is_integer() and min(one, other) >= 1 and one != other for one, other, _ in rows)
    return whole and not np.array_equal(np.array(rows), np.array(rows).T)


def _matrix_of_pairs(path: Path, rows: list[list[float]]) -> np.ndarray:
    """Return the matrix of lines of i, j and a round trip; -1 where there is no line."""
    for one, other, _ in rows:
        if not (one.is_integer() and other.is_integer() and min(one, other) >= 1):
            raise SettingsError(f"{path} counts peers from 1 in its lines of i, j and the round trip.")
        if max(one, other) > MATRIX_PEERS_MAX:
            raise SettingsError(f"{path} names peer {max(one, other):,.0f}; a matrix is of {MATRIX_PEERS_MAX:,} peers at most.")
    size = int(max(max(row[0], row[1]) for row in rows))
    matrix = np.full((size, size), -1.0)
    for one, other, round_trip in rows:
        matrix[int(one) - 1, int(other) - 1] = round_trip
        if matrix[int(other) - 1, int(one) - 1] < 0:
            matrix[int(other) - 1, int(one) - 1] = round_trip
    return matrix
