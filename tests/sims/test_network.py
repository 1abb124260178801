"""Frames take the time that latency, bandwidth and loss give them, and go where cuts and NATs let them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from sims.clock import Clock, Op
from sims.network import PACKET_OVERHEAD_BYTES, Network, read_matrix, wire_bytes
from sims.node import Node, Pipe
from sims.scenario import Scenario
from sims.seeds import Seeds


class Line:
    """Two machines and one pipe between them."""

    def __init__(self, up: float = 0.0, down: float = 0.0, **changes: Any):
        plain = {"latency.round_trip_ms": 100.0, **changes}
        self.clock = Clock()
        self.network = Network(Scenario().changed(**plain), self.clock, Seeds(1))
        self.one, self.other = (Node(number, 0, bytes(32), Seeds(1).generator()) for number in range(2))
        self.one.up_bytes_per_s, self.other.down_bytes_per_s = up, down
        self.pipe: Pipe = self.network.pipe(self.one, 1, self.other, 2)

    def send(self, count: int, size: int = 1_120) -> None:
        for index in range(count):
            self.network.send(self.pipe, index.to_bytes(4, "big") + bytes(size - 4), size)

    def arrivals(self) -> list[tuple[float, int]]:
        found = []
        while entry := self.clock.pop():
            _, _, op, pipe, frame, wire = entry
            if op is Op.ARRIVE:
                found.append((self.network.download(pipe, wire), int.from_bytes(frame[:4], "big")))
        return found


def test_a_frame_takes_half_a_round_trip():
    line = Line()
    line.send(1)
    assert line.arrivals() == [(0.05, 0)]


def test_frames_queue_for_the_uplink_with_their_headers():
    line = Line(up=12_000.0)
    line.send(3)
    assert wire_bytes(1_120) == 1_120 + PACKET_OVERHEAD_BYTES
    assert [time for time, _ in line.arrivals()] == pytest.approx([0.15, 0.25, 0.35])


def test_a_free_downlink_costs_nothing_and_a_busy_one_makes_frames_wait():
    line = Line(up=24_000.0, down=12_000.0)
    line.send(3)
    assert [time for time, _ in line.arrivals()] == pytest.approx([0.15, 0.25, 0.35])
    swift = Line(up=12_000.0, down=24_000.0)
    swift.send(3)
    assert [time for time, _ in swift.arrivals()] == pytest.approx([0.15, 0.25, 0.35])


def test_a_reliable_channel_turns_loss_into_delay_and_keeps_the_order():
    line = Line(**{"faults.loss": 0.2})
    line.send(400)
    arrivals = line.arrivals()
    assert [number for _, number in arrivals] == list(range(400))
    assert line.network.frames_lost == 0
    clean = 0.05 + 400 * 1_200 / line.pipe.rate
    assert arrivals[-1][0] >= clean - 1e-9
    assert arrivals[0][0] in (pytest.approx(0.05 + 1_200 / line.pipe.rate), pytest.approx(0.15 + 1_200 / line.pipe.rate))


def test_one_percent_loss_over_fifty_milliseconds_carries_a_third_of_a_megabyte_a_second():
    line = Line(**{"faults.loss": 0.01, "latency.round_trip_ms": 50.0})
    assert line.pipe.rate == pytest.approx(0.3e6, rel=0.05)


def test_dropped_messages_are_gone():
    line = Line(**{"faults.loss": 0.3, "faults.mode": "drop"})
    line.send(5_000)
    assert line.network.frames_lost == pytest.approx(1_500, rel=0.1)
    assert len(line.arrivals()) == 5_000 - line.network.frames_lost


def test_frames_are_repeated_and_overtaken():
    line = Line(**{"faults.duplication": 0.2, "faults.reordering": 0.2})
    line.send(1_000)
    numbers = [number for _, number in line.arrivals()]
    assert set(numbers) == set(range(1_000))
    assert len(numbers) > 1_080
    assert numbers != sorted(numbers)


def test_a_cut_loses_or_delays_and_heals():
    line = Line()
    line.other.group = 1
    line.network.heals_at = 10.0
    assert not line.network.reachable(line.one, line.other)
    line.send(1)
    assert [time for time, _ in line.arrivals()] == [10.05]
    lasting = Line()
    lasting.other.group = 1
    lasting.network.heals_at = 100.0
    lasting.send(1)
    assert lasting.arrivals() == []
    assert lasting.network.frames_lost == 1


def test_nats_make_pairs_relayed_or_unreachable_in_their_shares():
    network = Line(**{"faults.relay": 0.4, "faults.unreachable": 0.03, "faults.relay_factor": 2.0}).network
    nodes = [Node(number, 0, bytes(32), Seeds(1).generator()) for number in range(150)]
    pairs = [(one, other) for one in nodes for other in nodes if one.number < other.number]
    assert np.mean([network.relayed(*pair) for pair in pairs]) == pytest.approx(0.4, abs=0.02)
    assert np.mean([network.reachable(*pair) for pair in pairs]) == pytest.approx(0.97, abs=0.01)
    assert {round(network.round_trip_s(*pair), 6) for pair in pairs} == {0.1, 0.2}
    for node in nodes:
        node.nat = "open"
    assert all(network.reachable(*pair) and not network.relayed(*pair) for pair in pairs)


def test_more_than_a_mebibyte_that_waits_is_told_and_so_is_its_end():
    line = Line(up=1e6)
    told: list[Pipe] = []
    line.network.on_congested = told.append
    line.send(40, 60_000)
    assert told == [line.pipe]
    assert line.network.buffered_bytes(line.pipe, 0.0) == 40 * 60_000
    asked = 0
    while entry := line.clock.pop():
        _, _, op, pipe, _, _ = entry
        if op is Op.DRAIN:
            asked += 1
            if line.network.drained(pipe):
                break
    assert asked == 2  # more was sent after the first word
    now = line.clock.now
    assert line.network.buffered_bytes(line.pipe, now) <= 2**20 < line.network.buffered_bytes(line.pipe, now - 0.1)


def test_round_trips_can_be_imported(tmp_path: Path):
    square = tmp_path / "square.txt"
    square.write_text("0 10 20\n10 0 30\n20 30 0\n")
    assert read_matrix(square)[0, 2] == 20.0
    king = tmp_path / "king.csv"
    king.write_text("# i, j, ms\n1,2,12.5\n2,3,-1\n1,4,40\n3,4,50\n")
    matrix = read_matrix(king)
    assert matrix.shape == (4, 4)
    assert matrix[1, 0] == 12.5
    assert matrix[1, 2] == 40.0  # unknown: the median of what is known
    line = Line(**{"latency.file": str(square)})
    assert line.network.round_trip_s(line.one, line.other) == 0.01
    for wrong in ("1 2\n3 4\n5 6\n", "a b\n", "", "1 2\n3\n"):
        square.write_text(wrong)
        with pytest.raises(SettingsError):
            read_matrix(square)


def test_the_king_data_set_is_in_microseconds(tmp_path: Path):
    """Lines of i, j and the round trip, some of which failed; the published set's mean is 75,809."""
    king = tmp_path / "king.txt"
    king.write_text("1 2 75809\n1 3 -1\n2 3 120514\n1 4 19201\n2 4 81027\n3 4 98022\n")
    matrix = read_matrix(king, "us")
    assert matrix[0, 1] == matrix[1, 0] == 75.809
    assert matrix[0, 2] == 81.027
    line = Line(**{"latency.file": str(king), "latency.unit": "us"})
    assert line.network.round_trip_s(line.one, line.other) == 0.075809
    with pytest.raises(
        SettingsError, match=r'more than 81 s; set latency\.unit .* "us" for microseconds, as in the King data set'
    ):
        Line(**{"latency.file": str(king)})


def test_three_lines_are_pairs_or_a_matrix(tmp_path: Path):
    path = tmp_path / "trips.txt"
    path.write_text("1 2 75\n1 3 80\n2 3 120\n")
    assert read_matrix(path).tolist() == [[80.0, 75.0, 80.0], [75.0, 80.0, 120.0], [80.0, 120.0, 80.0]]
    for rows in ("0 10 20\n10 0 30\n20 30 0\n", "1 10 20\n10 1 30\n20 30 1\n", "0.5 2 3\n4 0.5 6\n7 8 0.5\n"):
        path.write_text(rows)
        assert read_matrix(path)[0, 1] == float(rows.split()[1])


@pytest.mark.parametrize("line", ["300000 1 20", "inf 1 20", "nan 1 20", "1e300 1 20", "1 -1 20", "1.5 1 20"])
def test_peers_that_no_matrix_can_hold_are_refused_before_there_is_one(line: str, tmp_path: Path):
    path = tmp_path / "trips.txt"
    path.write_text(f"1 2 10\n{line}\n")
    with pytest.raises(SettingsError, match=r"counts peers from 1|is of 5,000 peers at most"):
        read_matrix(path)


def test_regions_have_their_own_round_trips():
    changes = {
        "latency.regions": ["eu", "us"],
        "latency.matrix_ms": [[10.0, 90.0], [90.0, 20.0]],
        "latency.round_trip_ms": 1.0,
        "classes": [{"region": "eu"}],
    }
    network = Network(Scenario().changed(**changes), Clock(), Seeds(1))
    one, other = (Node(number, 0, bytes(32), Seeds(1).generator()) for number in range(2))
    other.region = 1
    assert network.round_trip_s(one, other) == 0.09
