"""Every transport keeps the same promises: what the node may rely on, tried on each of them and between them."""

from __future__ import annotations

import asyncio

import pytest

from meshlearn.errors import MalformedMessage
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, FRAME_BYTES_MAX, PENDING_BYTES_MAX, ChannelClosed, SessionGone
from tests.runtime.links import KINDS, Listener, connect, two_transports

every_kind = pytest.mark.parametrize("kind", KINDS)
one_of_each = pytest.mark.parametrize("kind", KINDS[:3])


@every_kind
async def test_frames_of_every_size_arrive_whole_and_in_order(kind: str) -> None:
    frames = [bytes([number]) * size for number, size in enumerate((1, 2, 1_000, 16_384, FRAME_BYTES_MAX, 7))]
    async with two_transports(kind) as transports:
        alice, bob = await connect(*transports)
        assert (alice.remote, alice.outgoing, bob.remote, bob.outgoing) == ("bob", True, "alice", False)
        heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
        for frame in frames:
            alice.send(frame)
            bob.send(frame[::-1])
        assert await heard_by_bob.until_frames(len(frames)) == frames
        assert await heard_by_alice.until_frames(len(frames)) == frames
        assert alice.bytes_out == bob.bytes_in == alice.bytes_in == sum(map(len, frames))


@every_kind
async def test_a_side_that_closes_still_delivers_its_last_words(kind: str) -> None:
    async with two_transports(kind) as transports:
        alice, bob = await connect(*transports)
        heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
        last_words = [b"goodbye", bytes(FRAME_BYTES_MAX), b"goodbye again"]
        for frame in last_words:
            alice.send(frame)
        alice.close()
        alice.close()
        assert alice.closed
        with pytest.raises(ChannelClosed):
            alice.send(b"too late")
        assert await heard_by_alice.until_closed() == "closed on this side"
        assert await heard_by_bob.until_closed() == "the other side closed the link"
        assert heard_by_bob.frames == last_words
        with pytest.raises(ChannelClosed):
            bob.send(b"is anybody there?")
    assert len(heard_by_alice.reasons) == len(heard_by_bob.reasons) == 1


@every_kind
async def test_a_congested_link_says_when_it_takes_frames_again(kind: str) -> None:
    async with two_transports(kind) as transports:
        alice, bob = await connect(*transports)
        heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
        sent = 0
        while alice.buffered_amount <= BUFFERED_BYTES_HIGH:
            alice.send(bytes(FRAME_BYTES_MAX))
            sent += 1
        await heard_by_alice.drained.wait()
        assert alice.buffered_amount <= BUFFERED_BYTES_HIGH
        assert sum(map(len, await heard_by_bob.until_frames(sent))) == sent * FRAME_BYTES_MAX


@one_of_each
async def test_frames_that_come_before_anybody_listens_are_kept(kind: str) -> None:
    async with two_transports(kind) as transports:
        alice, bob = await connect(*transports)
        alice.send(b"first")
        alice.send(b"second")
        while bob.bytes_in < len(b"firstsecond"):
            await asyncio.sleep(0)
        alice.close()
        heard_by_bob = Listener(bob)
        await heard_by_bob.until_closed()
        assert heard_by_bob.frames == [b"first", b"second"]


@one_of_each
async def test_a_link_that_nobody_reads_is_closed_before_it_fills_the_memory(kind: str) -> None:
    async with two_transports(kind) as transports:
        alice, bob = await connect(*transports)
        heard_by_alice = Listener(alice)
        for _ in range(PENDING_BYTES_MAX // FRAME_BYTES_MAX + 1):
            alice.send(bytes(FRAME_BYTES_MAX))
        await heard_by_alice.until_closed()
        assert bob.closed
        assert bob.bytes_in <= PENDING_BYTES_MAX + FRAME_BYTES_MAX


@one_of_each
async def test_only_frames_of_a_legal_length_are_sent(kind: str) -> None:
    async with two_transports(kind) as transports:
        alice, _ = await connect(*transports)
        for frame in (b"", bytes(FRAME_BYTES_MAX + 1)):
            with pytest.raises(ValueError, match="a frame has 1 to 65536 bytes"):
                alice.send(frame)
        assert alice.bytes_out == 0


@one_of_each
async def test_a_node_whose_callback_fails_keeps_its_link(kind: str) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context["exception"]))
    async with two_transports(kind) as transports:
        alice, bob = await connect(*transports)
        heard_by_alice = Listener(alice)

        def fail(frame: bytes) -> None:
            bob.send(frame)
            raise RuntimeError(frame.decode())

        bob.on_frame(fail)
        alice.send(b"one")
        alice.send(b"two")
        assert await heard_by_alice.until_frames(2) == [b"one", b"two"]
    assert [str(fault) for fault in faults] == ["one", "two"]


@every_kind
async def test_closing_a_transport_ends_its_links_and_takes_no_new_ones(kind: str) -> None:
    async with two_transports(kind) as (ours, theirs):
        alice, bob = await connect(ours, theirs)
        heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
        await ours.close()
        assert await heard_by_alice.until_closed() == "closed on this side"
        assert await heard_by_bob.until_closed() == "the other side closed the link"
        with pytest.raises(SessionGone):
            await ours.offer("bob")


@one_of_each
async def test_an_answer_counts_once_and_only_from_the_peer_that_was_asked(kind: str) -> None:
    async with two_transports(kind) as (ours, theirs):
        opened = asyncio.Event()
        ours.on_opened(lambda _channel: opened.set())
        session, offer = await ours.offer("bob")
        answer = await theirs.accept_offer("alice", session, offer)
        with pytest.raises(SessionGone):
            await ours.accept_answer("mallory", session, answer)
        with pytest.raises(SessionGone):
            await ours.accept_answer("bob", "another session", answer)
        await ours.accept_answer("bob", session, answer)
        with pytest.raises(SessionGone):
            await ours.accept_answer("bob", session, answer)
        await opened.wait()


@one_of_each
async def test_an_offer_that_nobody_answers_fails_once(kind: str) -> None:
    async with two_transports(kind, connect_timeout_s=0.05) as (ours, _theirs):
        failure: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        ours.on_failed(lambda remote, reason: failure.set_result((remote, reason)))
        try:
            await ours.offer("bob")
        except SessionGone as error:
            # On a machine under load the offer itself took longer: then the call reports it, and on_failed does not.
            failure.set_result(("bob", str(error)))
        assert await failure == ("bob", "no connection within 0.05 s")


@one_of_each
async def test_an_offer_that_is_given_up_fails_silently(kind: str) -> None:
    failures: list[str] = []
    async with two_transports(kind) as (ours, theirs):
        ours.on_failed(lambda remote, _reason: failures.append(remote))
        session, offer = await ours.offer("bob")
        answer = await theirs.accept_offer("alice", session, offer)
        ours.abandon("bob", session)
        ours.abandon("bob", session)
        with pytest.raises(SessionGone):
            await ours.accept_answer("bob", session, answer)
    assert failures == []


@one_of_each
async def test_a_call_that_is_cancelled_leaves_nothing_behind(kind: str) -> None:
    async with two_transports(kind) as (ours, _theirs):
        call = asyncio.create_task(ours.offer("bob"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await ours.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)


GOOD = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=fingerprint:sha-256 00\r\n"
UNUSABLE = {
    "nothing": "",
    "no SDP": "hello",
    "not ASCII": GOOD + "a=ü\r\n",
    "too long": GOOD + "a=x\r\n" * 10_000,
    "a camera": GOOD.replace("application", "video"),
    "two channels": GOOD + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    "no fingerprint": GOOD.replace("a=fingerprint", "a=finger"),
    "a thousand addresses": GOOD + "a=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\n" * 1_000,
    "no credentials": GOOD,
    "no address, and none to come": GOOD + "a=end-of-candidates\r\n",
}


@one_of_each
@pytest.mark.parametrize("sdp", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_a_description_that_cannot_be_used_is_refused_and_the_transport_goes_on(kind: str, sdp: str) -> None:
    failures: list[str] = []
    async with two_transports(kind) as (ours, theirs):
        ours.on_failed(lambda remote, _reason: failures.append(remote))
        with pytest.raises(MalformedMessage):
            await theirs.accept_offer("mallory", "session", sdp)
        session, _ = await ours.offer("bob")
        with pytest.raises(MalformedMessage):
            await ours.accept_answer("bob", session, sdp)
        await connect(ours, theirs)
    assert failures == []
