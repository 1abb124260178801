"""The tracker: the mean of the peers' models, their disagreement, each one's accuracy, and when the run is over."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from meshlearn.learning.engines import make_engine
from meshlearn.protocol.actions import ModelPulled
from meshlearn.protocol.link import Link
from meshlearn.protocol.replica import Replica
from meshlearn.runtime import tracker as tracker_module
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.identity import encode_base64url
from meshlearn.runtime.tracker import COMPLETE_S, FRESH_S, LAST_MODELS_S, WORST, Tracker
from meshlearn.wire.messages import PeerKind
from tests.runtime.runs import SmallRun, make_data
from tests.runtime.virtual import run_virtual

ALICE, BOB, CAROL = (bytes([number]) * 32 for number in (1, 2, 3))
NAMES = {peer: encode_base64url(peer) for peer in (ALICE, BOB, CAROL)}


class Desk:
    """A tracker with what it needs; made on a running loop."""

    def __init__(self, since_s: float = 0.0, **settings: Any) -> None:
        self.run = SmallRun(**settings).run
        self.initial = self.run.read_initial(SmallRun(**settings).initial)
        self.replica = Replica(self.initial, 16)
        self.test = make_data()[1]
        self.engine = make_engine("numpy", self.run.spec, 64, self.test.scale)
        self.heard: list[Evaluation] = []
        parts = (self.run, self.replica, threading.Lock(), self.engine, self.test, self.heard.append)
        self.tracker = Tracker(*parts, since_s=since_s)

    def pulled(self, peer: bytes, displacement: float, age: int = 10) -> None:
        self.tracker.heard(ModelPulled(peer, np.full(len(self.initial), displacement, np.float32), age))

    def link(self, peer: bytes, steps: int, kind: PeerKind = PeerKind.PYTHON, age: int = 10) -> Link:
        link = Link(1, peer, True, 0.0)
        link.greeted, link.kind, link.steps, link.age = True, kind, steps, age
        return link


def test_the_mean_model_is_evaluated_and_becomes_the_trackers_own():
    async def story() -> None:
        desk = Desk()
        desk.pulled(ALICE, 0.1, age=7)
        desk.pulled(BOB, 0.3, age=9)
        await asyncio.sleep(2)
        evaluation = await desk.tracker.evaluate()
        assert evaluation is not None
        mean = desk.initial + np.float32(0.2)
        expected = desk.engine.evaluate(mean, desk.test)
        assert evaluation.accuracy == expected.accuracy
        assert evaluation.loss == pytest.approx(expected.loss, rel=1e-5)
        assert evaluation.disagreement == pytest.approx(0.5, rel=1e-3)  # each is 0.1 from a mean displacement of 0.2
        assert evaluation.peers == 2
        assert evaluation.time_s == pytest.approx(2.0)
        assert desk.tracker.vector == pytest.approx(mean, abs=1e-6)
        assert desk.tracker.age == 9
        assert desk.tracker.model_steps == 16
        assert desk.tracker.history == desk.heard == [evaluation]
        for peer, displacement in ((ALICE, 0.1), (BOB, 0.3)):
            own = desk.engine.evaluate(desk.initial + np.float32(displacement), desk.test).accuracy
            assert desk.tracker.accuracies[NAMES[peer]] == own

    run_virtual(story())


def test_the_history_of_an_earlier_tracker_is_continued():
    async def story() -> None:
        desk = Desk(since_s=100.0)
        desk.pulled(ALICE, 0.1)
        await asyncio.sleep(2)
        evaluation = await desk.tracker.evaluate()
        assert evaluation is not None
        assert evaluation.time_s == pytest.approx(102.0)

    run_virtual(story())


def test_without_a_new_model_there_is_nothing_to_evaluate():
    async def story() -> None:
        desk = Desk()
        assert await desk.tracker.evaluate() is None
        desk.pulled(ALICE, 0.1)
        assert await desk.tracker.evaluate() is not None
        assert await desk.tracker.evaluate() is None

    run_virtual(story())


def test_it_waits_a_little_for_the_models_of_all_that_are_linked():
    async def story() -> None:
        desk = Desk()
        desk.tracker.linked([desk.link(ALICE, 5), desk.link(BOB, 5), desk.link(CAROL, 0, age=0)])
        desk.pulled(ALICE, 0.1)
        assert await desk.tracker.evaluate() is None
        assert (await desk.tracker.evaluate(wait=False)) is not None
        desk.pulled(ALICE, 0.1)
        await asyncio.sleep(COMPLETE_S + 0.1)
        late = await desk.tracker.evaluate()
        assert late is not None
        assert late.peers == 1
        desk.pulled(BOB, 0.1)  # and now there is one of each who has a model
        complete = await desk.tracker.evaluate()
        assert complete is not None
        assert complete.peers == 2

    run_virtual(story())


def test_the_model_of_a_peer_that_has_gone_is_left_out_after_a_while():
    async def story() -> None:
        desk = Desk()
        desk.pulled(ALICE, 0.1)
        await asyncio.sleep(FRESH_S + 0.1)
        desk.pulled(BOB, 0.3)
        evaluation = await desk.tracker.evaluate()
        assert evaluation is not None
        assert evaluation.peers == 1
        assert desk.tracker.accuracies.keys() == {NAMES[BOB]}

    run_virtual(story())


def test_two_evaluations_never_run_at_the_same_time():
    async def story() -> None:
        desk = Desk()
        running, most = 0, 0
        evaluate = desk.engine.evaluate

        def watched(*arguments: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return evaluate(*arguments)
            finally:
                running -= 1

        desk.engine.evaluate = watched  # type: ignore[method-assign]
        desk.pulled(ALICE, 0.1)
        first = asyncio.create_task(desk.tracker.evaluate())
        await asyncio.sleep(0)
        desk.pulled(BOB, 0.1)
        assert await desk.tracker.evaluate() is None  # the first is under way
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        desk.pulled(BOB, 0.2)
        assert await desk.tracker.evaluate() is not None
        assert most == 1

    run_virtual(story())


def test_counters_come_from_the_server_and_from_the_links_and_outlive_the_peers():
    async def story() -> None:
        desk = Desk()
        report = {"kind": "python", "steps": 100, "samples": 400, "bytes_out": 1000}
        desk.tracker.reported([{"peer": NAMES[ALICE], **report}, {"peer": NAMES[BOB], **report}])
        assert (desk.tracker.steps, desk.tracker.samples, desk.tracker.bytes_sent) == (200, 800, 2000)
        desk.tracker.linked([desk.link(ALICE, 130)])  # the server is away, and the links go on
        assert (desk.tracker.steps, desk.tracker.samples) == (230, 400 + 130 * 4)
        desk.tracker.reported([{"peer": NAMES[ALICE], **report}])  # Bob has left
        assert desk.tracker.steps == 230
        assert desk.tracker.steps_of_slowest == 130

    run_virtual(story())


def test_the_tabs_that_take_part_are_counted_by_links_and_by_the_server():
    async def story() -> None:
        desk = Desk()
        desk.tracker.reported([{"peer": NAMES[ALICE], "kind": "python"}, {"peer": NAMES[BOB], "kind": "browser"}])
        assert desk.tracker.tabs == 1
        desk.tracker.linked([desk.link(BOB, 5, PeerKind.BROWSER), desk.link(CAROL, 5, PeerKind.BROWSER)])
        assert desk.tracker.tabs == 2
        desk.tracker.reported([{"peer": NAMES[ALICE], "kind": "python"}])
        assert desk.tracker.tabs == 2  # their links are there
        desk.tracker.linked([desk.link(CAROL, 5, PeerKind.BROWSER)])
        assert desk.tracker.tabs == 1
        desk.tracker.linked([])
        assert desk.tracker.tabs == 0

    run_virtual(story())


def test_a_report_of_nonsense_counts_for_nothing():
    async def story() -> None:
        desk = Desk()
        desk.tracker.reported([{"peer": NAMES[ALICE], "kind": "python", "steps": -5, "samples": "many", "bytes_out": 1e300}])
        desk.tracker.reported([{"peer": NAMES[BOB], "kind": "tracker", "steps": 7}])
        assert (desk.tracker.steps, desk.tracker.samples, desk.tracker.bytes_sent) == (0, 0, 0)

    run_virtual(story())


def test_however_many_peers_come_and_go_only_their_sums_are_kept(monkeypatch):
    async def story() -> None:
        monkeypatch.setattr(tracker_module, "SEEN_MAX", 10)
        desk = Desk()
        for number in range(100):
            peer = encode_base64url(number.to_bytes(32, "big"))
            desk.tracker.reported([{"peer": peer, "kind": "browser", "steps": 2, "samples": 8, "bytes_out": 1}])
        assert (desk.tracker.steps, desk.tracker.samples, desk.tracker.bytes_sent) == (200, 800, 100)
        assert len(desk.tracker._peers) <= 11

    run_virtual(story())


def test_a_long_history_gets_coarser_and_keeps_its_ends(monkeypatch):
    async def story() -> None:
        monkeypatch.setattr(tracker_module, "HISTORY_MAX", 8)
        desk = Desk()
        for _ in range(30):
            await asyncio.sleep(1)
            desk.pulled(ALICE, 0.1)
            await desk.tracker.evaluate()
        times = [point.time_s for point in desk.tracker.history]
        assert len(times) <= 8
        assert times[0] == desk.heard[0].time_s
        assert times[-1] == desk.heard[-1].time_s
        assert times == sorted(times)

    run_virtual(story())


def test_the_goal_ends_the_run():
    async def story() -> None:
        desk = Desk(goal_accuracy=0.0001)
        assert desk.tracker.reason_to_end() is None
        desk.pulled(ALICE, 0.0)
        await desk.tracker.evaluate()
        assert desk.tracker.reason_to_end() == "The goal of 0.0% on the test set is reached."

    run_virtual(story())


def test_the_step_limit_ends_the_run_when_all_that_are_there_have_reached_it():
    async def story() -> None:
        desk = Desk(step_limit=1000)
        assert desk.tracker.reason_to_end() is None  # nobody is there
        desk.tracker.linked([desk.link(ALICE, 1000), desk.link(BOB, 400)])
        assert desk.tracker.reason_to_end() is None
        desk.tracker.linked([desk.link(ALICE, 1000)])  # Bob was killed
        assert desk.tracker.reason_to_end() is None  # her last model is still to come
        desk.pulled(ALICE, 0.1)
        assert desk.tracker.reason_to_end() is None
        await desk.tracker.evaluate()
        assert desk.tracker.reason_to_end() == "The limit of 1,000 steps a peer is reached."

    run_virtual(story())


def test_a_model_from_before_the_step_limit_is_not_the_last_one():
    async def story() -> None:
        desk = Desk(step_limit=1000)
        desk.pulled(BOB, 0.1)
        await asyncio.sleep(1)
        desk.tracker.linked([desk.link(ALICE, 1000), desk.link(BOB, 1000)])
        assert desk.tracker.reason_to_end() is None
        desk.pulled(ALICE, 0.1)
        await desk.tracker.evaluate()
        assert desk.tracker.reason_to_end() is None
        desk.pulled(BOB, 0.1)
        await desk.tracker.evaluate()
        assert desk.tracker.reason_to_end() is not None

    run_virtual(story())


def test_the_end_at_the_step_limit_does_not_wait_for_ever():
    async def story() -> None:
        desk = Desk(step_limit=1000)
        desk.tracker.linked([desk.link(ALICE, 1000)])
        assert desk.tracker.reason_to_end() is None
        await asyncio.sleep(LAST_MODELS_S)
        assert desk.tracker.reason_to_end() is not None

    run_virtual(story())


def test_a_model_beyond_numbers_is_told_as_the_worst_and_not_as_no_number():
    async def story() -> None:
        desk = Desk()
        desk.pulled(ALICE, 1e30)
        desk.pulled(BOB, -1e30)
        with np.errstate(all="ignore"):
            evaluation = await desk.tracker.evaluate()
        assert evaluation is not None
        assert np.isfinite([evaluation.loss, evaluation.disagreement]).all()
        assert max(evaluation.loss, evaluation.disagreement) <= WORST

    run_virtual(story())
