"""A tracker's evaluations reach the server in order and whole, though it goes away in between."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from meshlearn.runtime import publisher as publisher_module
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.publisher import AT_ONCE, RECEIPT_TIMEOUT_S, Publisher


def point(number: int) -> Evaluation:
    return Evaluation(float(number), number, 32 * number, 0.5, 0.7, 0.01, 2, 100)


class Server:
    """Keeps what it is sent, while it is there."""

    def __init__(self) -> None:
        self.there = True
        self.got: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> bool:
        if self.there:
            self.got.append(message)
        return self.there

    @property
    def times(self) -> list[float]:
        return [message["time_s"] for message in self.got]


def test_what_is_confirmed_is_done():
    server = Server()
    publisher = Publisher(server.send)
    publisher.publish(point(1), 0.0)
    assert server.got == [{"type": "evaluation", **asdict(point(1))}]
    assert publisher.waiting == 1
    publisher.confirmed(server.got[0], 0.1)
    assert publisher.waiting == 0
    publisher.keep_on(100.0)
    assert len(server.got) == 1


def test_while_the_server_is_away_evaluations_wait_and_then_come_in_order():
    server = Server()
    publisher = Publisher(server.send)
    server.there = False
    for number in range(1, 11):
        publisher.publish(point(number), float(number))
    assert server.got == []
    server.there = True
    publisher.keep_on(11.0)
    assert server.times == [1.0, 2.0, 3.0, 4.0][:AT_ONCE]
    while publisher.waiting:
        publisher.confirmed(server.got[10 - publisher.waiting], 11.5)
    assert server.times == [float(number) for number in range(1, 11)]


def test_what_was_lost_on_the_way_is_sent_again_after_a_while():
    server = Server()
    publisher = Publisher(server.send)
    publisher.publish(point(1), 0.0)
    publisher.publish(point(2), 1.0)
    publisher.keep_on(RECEIPT_TIMEOUT_S - 0.1)
    assert server.times == [1.0, 2.0]
    publisher.keep_on(RECEIPT_TIMEOUT_S + 0.1)
    assert server.times == [1.0, 2.0, 1.0, 2.0]


def test_another_trackers_evaluation_is_no_receipt():
    server = Server()
    publisher = Publisher(server.send)
    publisher.publish(point(1), 0.0)
    publisher.confirmed({"type": "evaluation", **asdict(point(9))}, 0.1)
    publisher.confirmed({"type": "evaluation"}, 0.1)
    assert publisher.waiting == 1


def test_when_too_many_wait_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(publisher_module, "WAITING_MAX", 3)
    server = Server()
    publisher = Publisher(server.send)
    server.there = False
    for number in range(1, 6):
        publisher.publish(point(number), 0.0)
    assert publisher.waiting == 3
    server.there = True
    publisher.keep_on(1.0)
    assert server.times == [3.0, 4.0, 5.0]
