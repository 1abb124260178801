"""The node: the driver between the core, the links, the server and the training. Most stories run in virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import MeshError, SettingsError
from meshlearn.protocol import actions, events
from meshlearn.runtime.aiortc_channel import AiortcTransport
from meshlearn.runtime.introductions import ANSWERS_MAX
from meshlearn.runtime.memory_channel import FaultPlan, MemoryChannel, MemoryTransport
from meshlearn.runtime.node import Node
from meshlearn.wire.messages import PeerKind, Reason
from tests.runtime.hub import Mesh, SteadyTraining, until
from tests.runtime.virtual import VirtualLoop, run_virtual


def links(node: Node) -> int:
    return sum(link.greeted for link in node.peer.links.values())


def all_linked(nodes: list[Node]) -> bool:
    return all(links(node) == len(nodes) - 1 for node in nodes)


def test_four_nodes_find_each_other_train_and_come_to_agree():
    async def story() -> None:
        async with Mesh() as mesh:
            nodes = await mesh.start(1.0, 2.0, 3.0, 4.0)
            await until(lambda: all_linked(nodes))
            await until(lambda: all(node.peer.steps > 300 for node in nodes))
            means = [float(vector.mean()) for vector in mesh.vectors()]
            assert max(means) - min(means) < 0.4  # alone they would be 3 apart
            assert abs(np.mean(means) - 2.5) < 0.1

    run_virtual(story())


@pytest.mark.parametrize(
    "faults", [FaultPlan(drop=0.5), FaultPlan(duplicate=0.5, reorder=0.5), FaultPlan(drop=0.5, duplicate=0.5, reorder=0.5)]
)
def test_half_of_all_frames_lost_repeated_or_late_breaks_nothing(faults):
    async def story() -> None:
        async with Mesh(faults, seed=7) as mesh:
            nodes = await mesh.start(1.0, 2.0, 3.0, 4.0)
            await until(lambda: all(node.peer.steps > 1_000 for node in nodes), 600.0)
            network = mesh.network
            assert network.frames_dropped + network.frames_duplicated + network.frames_reordered > 500
            for vector in mesh.vectors():
                # A wrong slice would leave the hull of what the peers train for.
                assert np.isfinite(vector).all()
                assert vector.min() > -0.1
                assert vector.max() < 4.1
            # The fewer answers, the slower the peers ask; without training between, they still come to agree.
            for node in nodes:
                node.pause()
            await until(lambda: np.ptp([vector.mean() for vector in mesh.vectors()]) < 0.05, 600.0)
            assert all(node.peer.ready for node in nodes)
            # And the loop's exception handler has heard nothing: run_virtual looks.

    run_virtual(story())


def test_a_dead_peer_is_dropped_within_ten_seconds_and_the_others_go_on():
    async def story() -> None:
        async with Mesh() as mesh:
            nodes = await mesh.start(1.0, 2.0, 3.0)
            await until(lambda: all_linked(nodes))
            dead = nodes[2]
            transport = dead._transport
            assert isinstance(transport, MemoryTransport)
            transport.vanish()
            mesh.hub.clients.pop(dead.status()["peer"])
            died_at = asyncio.get_running_loop().time()
            await until(lambda: links(nodes[0]) == links(nodes[1]) == 1, 10.0)
            assert asyncio.get_running_loop().time() - died_at <= 10.0
            before = nodes[0].peer.counters.exchanges_accepted
            await until(lambda: nodes[0].peer.counters.exchanges_accepted > before + 20)

    run_virtual(story())


def test_without_the_server_exchanges_go_on_and_a_newcomer_joins_when_it_is_back():
    async def story() -> None:
        async with Mesh() as mesh:
            nodes = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(nodes))
            mesh.hub.go_down()
            before = nodes[0].peer.counters.exchanges_accepted
            await until(lambda: nodes[0].peer.counters.exchanges_accepted > before + 50)
            assert nodes[0].status()["signaling"] == "away"
            mesh.hub.come_back()
            pulled: list[actions.Action] = []
            newcomer = mesh.node(target=1.5, on_action=pulled.append)
            await newcomer.start()
            await until(lambda: newcomer.peer.ready and all_linked(mesh.nodes))
            assert [action.pulled for action in pulled if isinstance(action, actions.Ready)] == [True]
            assert newcomer.peer.counters.slices_pulled >= newcomer.peer.replica.slice_count

    run_virtual(story())


def test_a_second_welcome_introduces_again_and_brings_new_ice_servers():
    async def story() -> None:
        async with Mesh() as mesh:
            nodes = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(nodes))
            client = mesh.hub.clients[nodes[0].status()["peer"]]
            servers = [{"urls": "stun:127.0.0.1:3478"}]
            client.deliver({"type": "welcome", "peers": mesh.hub.sample(client), "ice_servers": servers, "state": "open"})
            await asyncio.sleep(5)
            assert all_linked(nodes)
            assert [server.urls for server in nodes[0]._transport._ice_servers] == [("stun:127.0.0.1:3478",)]  # type: ignore[attr-defined]
            client.deliver({"type": "welcome", "peers": [], "ice_servers": [{"urls": "nonsense"}], "state": "open"})
            assert [server.urls for server in nodes[0]._transport._ice_servers] == [("stun:127.0.0.1:3478",)]  # type: ignore[attr-defined]

    run_virtual(story())


def test_a_peer_that_is_introduced_to_itself_starts_alone():
    async def story() -> None:
        async with Mesh() as mesh:
            mesh.hub.names_everybody = True
            (node,) = await mesh.start(1.0)
            await until(lambda: node.peer.ready)
            assert links(node) == 0
            assert not [message for message in mesh.hub.clients[node.status()["peer"]].sent if message["type"] == "offer"]

    run_virtual(story())


def test_an_offer_with_a_signature_of_somebody_else_is_declined():
    async def story() -> None:
        async with Mesh() as mesh:
            alice, mallory = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(mesh.nodes))
            client = mesh.hub.clients[alice.status()["peer"]]
            _, sdp = await mesh.network.transport().offer("x")
            offer = {"type": "offer", "from": mallory.status()["peer"], "session": "s1", "sdp": sdp, "signature": "A" * 86}
            client.deliver(offer)
            await until(lambda: client.sent[-1]["type"] == "decline")
            assert client.sent[-1] == {"type": "decline", "to": mallory.status()["peer"], "session": "s1"}
            assert links(alice) == 1

    run_virtual(story())


def test_more_offers_than_can_be_answered_at_once_are_declined_and_not_left_waiting():
    async def story() -> None:
        async with Mesh() as mesh:
            alice, mallory = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(mesh.nodes))
            client = mesh.hub.clients[alice.status()["peer"]]
            count = ANSWERS_MAX + 5
            for number in range(count):
                client.deliver(
                    {"type": "offer", "from": mallory.status()["peer"], "session": f"s{number}", "sdp": "-", "signature": "-"}
                )
            await asyncio.sleep(1)
            declined = [message["session"] for message in client.sent if message["type"] == "decline"]
            assert sorted(declined) == sorted(f"s{number}" for number in range(count))
            await until(lambda: alice.peer.counters.exchanges_accepted > 10)

    run_virtual(story())


def test_an_answer_that_nobody_waits_for_changes_nothing():
    async def story() -> None:
        async with Mesh() as mesh:
            alice, bob = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(mesh.nodes))
            client = mesh.hub.clients[alice.status()["peer"]]
            remote = bob.status()["peer"]
            client.deliver({"type": "answer", "from": remote, "session": "none", "sdp": "-", "signature": "-"})
            client.deliver({"type": "candidate", "from": remote, "session": "none", "candidate": ""})
            client.deliver({"type": "unreachable", "peer": remote, "session": "none"})
            client.deliver({"type": "decline", "from": remote, "session": "none"})
            await asyncio.sleep(1)
            assert links(alice) == 1

    run_virtual(story())


def test_the_end_of_the_run_ends_the_node_with_its_reason():
    async def story() -> None:
        heard: list[dict[str, Any]] = []
        async with Mesh() as mesh:
            node = mesh.node(target=1.0, on_message=heard.append)
            await node.start()
            await until(lambda: node.peer.ready)
            mesh.hub.clients[node.status()["peer"]].deliver({"type": "over", "reason": "The goal is reached."})
            assert await node.wait() == "The goal is reached."
            assert [message["type"] for message in heard] == ["over"]
            node.end("later")
            assert await node.wait() == "The goal is reached."

    run_virtual(story())


def test_a_refusal_for_good_ends_the_node_with_the_servers_sentence():
    async def story() -> None:
        async with Mesh() as mesh:
            (node,) = await mesh.start(1.0)
            client = mesh.hub.clients[node.status()["peer"]]
            client.failure = MeshError("Another program keeps joining with this peer's key.")
            client.set_state("refused")
            with pytest.raises(MeshError, match="Another program"):
                await node.wait()

    run_virtual(story())


@pytest.mark.parametrize("where", ["on_action", "on_message", "on_trained"])
def test_an_exception_of_a_callback_ends_the_node(where):
    async def story() -> None:
        def fail(*arguments: object) -> None:
            raise BrokenPipeError("the reader has gone")

        async with Mesh() as mesh:
            training = SteadyTraining(np.ones_like(mesh.initial))
            node = mesh.node(training=training, **{where: fail})
            await node.start()
            if where == "on_message":
                mesh.hub.clients[node.status()["peer"]].deliver({"type": "mesh", "peers": []})
            if where == "on_trained":
                await until(lambda: node.peer.ready)
                training.finished = True
                training.on_end(None)
            with pytest.raises(BrokenPipeError):
                await node.wait()

    run_virtual(story())


def test_a_frame_that_breaks_the_core_costs_its_sender_the_link_and_nothing_else(monkeypatch):
    async def story() -> None:
        async with Mesh() as mesh:
            alice, bob, carol = await mesh.start(1.0, 2.0, 3.0)
            await until(lambda: all_linked(mesh.nodes))
            handle = alice.peer.handle
            bad = next(number for number, link in alice.peer.links.items() if link.peer == bob.peer.config.peer_id)

            def broken(event: events.Event, now: float) -> list[actions.Action]:
                if isinstance(event, events.Received) and event.link == bad:
                    raise AssertionError("a fault in the core")
                return handle(event, now)

            monkeypatch.setattr(alice.peer, "handle", broken)
            await until(lambda: bad not in alice.peer.links)
            before = alice.peer.counters.exchanges_accepted
            await until(lambda: alice.peer.counters.exchanges_accepted > before + 20)
            assert carol.peer.config.peer_id in {link.peer for link in alice.peer.links.values()}

    run_virtual(story())


def test_a_core_that_fails_at_its_own_clock_ends_the_node(monkeypatch):
    async def story() -> None:
        async with Mesh() as mesh:
            (node,) = await mesh.start(1.0)
            await until(lambda: node.peer.ready)

            def broken(event: events.Event, now: float) -> list[actions.Action]:
                raise AssertionError("a fault in the core")

            monkeypatch.setattr(node.peer, "handle", broken)
            with pytest.raises(AssertionError, match="a fault in the core"):
                await node.wait()
            monkeypatch.undo()

    run_virtual(story())


def test_a_link_that_drains_before_the_core_hears_of_its_congestion_is_not_left_congested():
    async def story() -> None:
        async with Mesh() as mesh:
            alice, _ = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(mesh.nodes))
            (number,) = alice._channels
            alice._congested.add(number)
            loop = asyncio.get_running_loop()
            loop.call_soon(alice._link_drained, number)
            loop.call_soon(alice._tell_congested, number)
            await asyncio.sleep(0.01)
            assert not alice.peer.links[number].congested

    run_virtual(story())


def test_a_congested_link_rests_until_it_has_drained():
    async def story() -> None:
        async with Mesh() as mesh:
            alice, _ = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(mesh.nodes))
            (number,) = alice._channels
            channel = alice._channels[number]
            assert isinstance(channel, MemoryChannel)
            channel.pause()
            for _ in range(17):
                alice._perform(actions.Send(number, (bytes(65_536),)))
            await asyncio.sleep(0.01)
            assert alice.peer.links[number].congested
            channel.resume()
            await until(lambda: not alice.peer.links[number].congested)

    run_virtual(story())


class Goodbyes:
    """Hears the links that the core closes because the other side says that it leaves."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.heard = asyncio.Event()

    def hear(self, action: actions.Action) -> None:
        # Two offers that cross leave one link too many, which is closed for another reason.
        if isinstance(action, actions.CloseLink) and action.reason is Reason.LEAVING:
            self.texts.append(action.text)
            self.heard.set()


def test_closing_says_goodbye_before_the_links_go():
    async def story() -> None:
        goodbyes = Goodbyes()
        async with Mesh() as mesh:
            alice, bob = mesh.node(target=1.0, on_action=goodbyes.hear), mesh.node(target=2.0)
            await alice.start()
            await bob.start()
            await until(lambda: all_linked(mesh.nodes))
            await bob.close()
            await until(lambda: not alice.peer.links, 1.0)
            assert goodbyes.texts == ["the peer leaves"]

    run_virtual(story())


async def test_over_webrtc_the_goodbye_arrives_too():
    goodbyes = Goodbyes()
    async with Mesh() as mesh:
        alice = mesh.node(transport=AiortcTransport(), on_action=goodbyes.hear)
        bob = mesh.node(transport=AiortcTransport())
        async with asyncio.timeout(60):
            await alice.start()
            await bob.start()
            while not all_linked(mesh.nodes):
                await asyncio.sleep(0.02)
            await bob.close()
            await goodbyes.heard.wait()
        assert goodbyes.texts == ["the peer leaves"]


def test_closing_twice_leaves_no_task_behind():
    async def story() -> None:
        async with Mesh() as mesh:
            nodes = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(nodes))
            client = mesh.hub.clients[nodes[0].status()["peer"]]
            await nodes[0].close()
            await nodes[0].close()
            # What the server still says finds nobody at home.
            client.deliver({"type": "offer", "from": nodes[1].status()["peer"], "session": "s", "sdp": "-", "signature": "-"})
            assert await nodes[0].wait() == "The peer was closed."
            await nodes[1].close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(story())


def test_a_server_that_does_not_answer_at_the_start_is_a_sentence():
    async def story() -> None:
        async with Mesh() as mesh:
            mesh.hub.down = True
            node = mesh.node(target=1.0)
            with pytest.raises(MeshError, match="No server answers"):
                await node.start()

    run_virtual(story())


class _Broken(MemoryTransport):
    async def offer(self, remote: str) -> tuple[str, str]:
        raise OSError(24, "Too many open files")

    async def accept_offer(self, remote: str, session: str, sdp: str) -> str:
        raise KeyError("what a library raises for what a stranger sends")


def test_a_library_that_raises_anything_costs_a_connection_and_no_more(caplog):
    async def story() -> None:
        async with Mesh() as mesh:
            alice = mesh.node(target=1.0, transport=_Broken(mesh.network))
            bob = mesh.node(target=2.0)
            await alice.start()
            await bob.start()
            await until(lambda: alice.peer.ready and bob.peer.ready)
            await asyncio.sleep(60)
            assert links(alice) == links(bob) == 0
            assert alice.peer.steps > 100

    run_virtual(story())
    assert "Too many open files" in caplog.text
    assert "what a library raises" in caplog.text


class _NoAddress(MemoryTransport):
    async def offer(self, remote: str) -> tuple[str, str]:
        raise MeshError("This machine has no network address.")


def test_a_machine_without_an_address_ends_with_a_sentence_but_only_while_it_has_never_had_a_link():
    async def story() -> None:
        async with Mesh() as mesh:
            await mesh.start(1.0)
            stranded = mesh.node(target=2.0, transport=_NoAddress(mesh.network))
            await stranded.start()
            with pytest.raises(MeshError, match="no network address"):
                await stranded.wait()
        async with Mesh() as mesh:
            transport = _NoAddress(mesh.network)
            reached = mesh.node(target=1.0, transport=transport)
            await reached.start()
            await until(lambda: reached.peer.ready)
            await mesh.start(2.0)
            await until(lambda: all_linked(mesh.nodes))  # the other one made the offer
            await mesh.nodes[1].close()
            await mesh.start(3.0)
            await until(lambda: links(reached) == 1, 120.0)

    run_virtual(story())


def test_training_rests_when_told_and_while_the_model_is_pulled_anew():
    async def story() -> None:
        async with Mesh() as mesh:
            (node,) = await mesh.start(1.0)
            await until(lambda: node.peer.steps > 10)
            node.pause()
            await asyncio.sleep(1)
            steps = node.peer.steps
            await asyncio.sleep(10)
            assert node.peer.steps == steps
            node.resume()
            await until(lambda: node.peer.steps > steps)
            training = node.training
            assert isinstance(training, SteadyTraining)
            assert training.pauses == 1
            node.peer._pulling.ready = False  # as a peer that has slept for long does, until it has the model again
            steps = node.peer.steps
            await asyncio.sleep(1)
            assert training.pauses == 2

    run_virtual(story())


def test_a_pause_before_the_model_is_there_holds():
    async def story() -> None:
        async with Mesh() as mesh:
            node = mesh.node(target=1.0)
            node.pause()
            await node.start()
            await until(lambda: node.peer.ready)
            await asyncio.sleep(5)
            assert node.peer.steps == 0

    run_virtual(story())


def test_at_the_step_limit_the_peer_goes_on_averaging_and_says_so():
    async def story() -> None:
        trained: list[bool] = []
        async with Mesh() as mesh:
            training = SteadyTraining(np.ones_like(mesh.initial))
            node = mesh.node(training=training, on_trained=lambda: trained.append(True))
            await node.start()
            await mesh.start(2.0)
            await until(lambda: all_linked(mesh.nodes) and node.peer.steps > 0)
            training.finished = True
            training.on_end(None)
            await until(lambda: trained == [True])
            before = node.peer.counters.exchanges_accepted
            await until(lambda: node.peer.counters.exchanges_accepted > before + 20)

    run_virtual(story())


def test_training_that_fails_ends_the_node_with_what_it_raised():
    async def story() -> None:
        async with Mesh() as mesh:
            training = SteadyTraining(np.ones_like(mesh.initial))
            node = mesh.node(training=training)
            await node.start()
            await until(lambda: node.peer.ready)
            training.on_end(SettingsError("Training has diverged."))
            with pytest.raises(SettingsError, match="diverged"):
                await node.wait()
        assert training.stopped

    run_virtual(story())


def test_a_tracker_finds_newcomers_and_is_asked_for_nothing():
    async def story() -> None:
        pulled: set[bytes] = set()
        async with Mesh() as mesh:
            tracker = mesh.node(
                kind=PeerKind.TRACKER,
                on_action=lambda action: pulled.add(action.peer) if isinstance(action, actions.ModelPulled) else None,
            )
            await tracker.start()
            nodes = await mesh.start(1.0, 2.0)
            await until(lambda: pulled == {node.peer.config.peer_id for node in nodes})
            assert tracker.peer.counters.exchanges_accepted == 0
            assert tracker.status()["training"] is None

    run_virtual(story())


def test_status_and_reports_are_json_with_finite_numbers():
    async def story() -> None:
        async with Mesh() as mesh:
            nodes = await mesh.start(1.0, 2.0)
            await until(lambda: all_linked(nodes))
            training = nodes[0].training
            assert isinstance(training, SteadyTraining)
            training.loss = float("inf")
            assert nodes[0].status()["loss"] is None
            peer = nodes[0].status()["peer"]
            mesh.hub.reports.clear()
            await until(lambda: peer in mesh.hub.reports)
            report = mesh.hub.reports[peer]
            assert "loss" not in report
            assert report["links"] == 1
            assert report["bytes_in"] > 0
            json.dumps([report, nodes[0].status()], allow_nan=False)

    run_virtual(story())


def test_the_virtual_loop_keeps_the_stories_honest():
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        before = loop.time()
        await asyncio.sleep(3600)
        assert loop.time() - before == pytest.approx(3600)

    run_virtual(story())
