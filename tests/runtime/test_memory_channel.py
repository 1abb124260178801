"""The network in memory loses, repeats and reorders frames as its plan says, and always alike from the same seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from meshlearn.runtime.memory_channel import FaultPlan, MemoryNetwork
from tests.runtime.links import Listener, connect

FRAMES = [number.to_bytes(2) for number in range(1_000)]


async def pass_through(network: MemoryNetwork, frames: list[bytes] = FRAMES) -> list[bytes]:
    """Send the frames over one link; return what arrived when the link has ended."""
    alice, bob = network.pair("alice", "bob")
    heard_by_bob = Listener(bob)
    for frame in frames:
        alice.send(frame)
        await asyncio.sleep(0)
    alice.close()
    await heard_by_bob.until_closed()
    return heard_by_bob.frames


async def test_without_faults_every_frame_arrives_once_and_in_order() -> None:
    assert await pass_through(MemoryNetwork(random.Random(1))) == FRAMES


async def test_frames_are_lost_in_proportion() -> None:
    network = MemoryNetwork(random.Random(1), FaultPlan(drop=0.3))
    arrived = await pass_through(network)
    assert len(arrived) == len(FRAMES) - network.frames_dropped
    assert arrived == sorted(arrived)
    assert 250 <= network.frames_dropped <= 350


async def test_frames_are_repeated_in_proportion() -> None:
    network = MemoryNetwork(random.Random(1), FaultPlan(duplicate=0.3))
    arrived = await pass_through(network)
    counts = Counter(arrived)
    assert set(counts) == set(FRAMES)
    assert sum(count == 2 for count in counts.values()) == network.frames_duplicated
    assert 250 <= network.frames_duplicated <= 350


async def test_frames_overtake_one_another() -> None:
    network = MemoryNetwork(random.Random(1), FaultPlan(reorder=0.3))
    arrived = await pass_through(network)
    assert arrived != FRAMES
    assert sorted(arrived) == FRAMES
    assert 250 <= network.frames_reordered <= 350


async def test_the_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    plan = FaultPlan(drop=0.1, duplicate=0.1, reorder=0.1)
    once, again, other = [await pass_through(MemoryNetwork(random.Random(seed), plan)) for seed in (7, 7, 8)]
    assert once == again
    assert once != other


async def test_a_fault_more_leaves_the_other_faults_where_they_were() -> None:
    lossy = await pass_through(MemoryNetwork(random.Random(3), FaultPlan(drop=0.2)))
    lossy_and_reordering = await pass_through(MemoryNetwork(random.Random(3), FaultPlan(drop=0.2, reorder=0.5)))
    assert sorted(lossy_and_reordering) == lossy


async def test_faults_may_change_in_the_middle() -> None:
    network = MemoryNetwork(random.Random(1), FaultPlan(drop=1.0))
    assert await pass_through(network) == []
    network.faults = FaultPlan()
    assert await pass_through(network) == FRAMES


async def test_a_paused_link_is_congested_until_it_goes_on() -> None:
    alice, bob = MemoryNetwork(random.Random(1)).pair("alice", "bob")
    heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
    alice.pause()
    for _ in range(17):
        alice.send(bytes(65_536))
    assert alice.buffered_amount == 17 * 65_536
    assert not heard_by_bob.frames
    alice.resume()
    await heard_by_alice.drained.wait()
    assert len(await heard_by_bob.until_frames(17)) == 17
    assert alice.buffered_amount == 0


async def test_a_peer_that_vanishes_says_nothing_to_anybody() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, theirs = network.transport(), network.transport()
    alice, bob = await connect(ours, theirs)
    heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
    bob.send(b"last")
    theirs.vanish()
    alice.send(b"anybody?")
    bob.send(b"nobody hears this")
    for _ in range(10):
        await asyncio.sleep(0)
    assert heard_by_alice.frames == heard_by_bob.frames == []
    assert heard_by_alice.reasons == heard_by_bob.reasons == []
    await ours.close()
    await theirs.close()
    assert heard_by_alice.reasons == ["closed on this side"]


async def test_an_answer_to_another_offer_opens_nothing() -> None:
    network = MemoryNetwork(random.Random(1))
    alice, bob, carol = (network.transport() for _ in range(3))
    first, offer = await alice.offer("bob")
    second, _ = await alice.offer("carol")
    answer = await bob.accept_offer("alice", first, offer)
    with pytest.raises(Exception, match="the answer is to another offer"):
        await alice.accept_answer("carol", second, answer)
    for transport in (alice, bob, carol):
        await transport.close()
