"""A peer joins, hears of the others, survives the server's death, and knows a refusal when it sees one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from meshlearn.errors import MalformedMessage, MeshError
from meshlearn.runtime.identity import encode_base64url
from meshlearn.runtime.join_link import JoinLink
from meshlearn.runtime.signaling_messages import MESSAGE_BYTES_MAX, decode_message, encode_message
from tests.runtime.servers import ICE_SERVERS, Member, Naps, members, odd_server, real_server

SDP = "v=0\r\na=fingerprint:sha-256 00\r\n"
PEER = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
SIGNATURE = encode_base64url(bytes(64))


async def test_members_are_introduced_and_exchange_descriptions(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        alice, bob = Member(server.link), Member(server.link)
        async with members(alice, bob):
            assert (alice.client.state, alice.client.role) == ("connected", "member")
            assert (await alice.until("welcome"))["peers"] == []
            assert (await bob.until("welcome"))["peers"] == [{"peer": alice.peer, "kind": "python"}]
            assert alice.client.send({"type": "sample", "count": 8})
            assert (await alice.until("peers"))["peers"] == [{"peer": bob.peer, "kind": "python"}]

            offer = {"type": "offer", "to": bob.peer, "session": "s-1", "sdp": SDP, "signature": SIGNATURE}
            alice.client.send(offer)
            assert await bob.until("offer") == {
                "type": "offer", "from": alice.peer, "session": "s-1", "sdp": SDP, "signature": SIGNATURE
            }  # fmt: skip
            bob.client.send({"type": "answer", "to": alice.peer, "session": "s-1", "sdp": SDP, "signature": SIGNATURE})
            assert (await alice.until("answer"))["from"] == bob.peer
            for candidate in ("candidate:1", {"candidate": "candidate:2", "sdpMid": "0", "sdpMLineIndex": 0}, None):
                alice.client.send({"type": "candidate", "to": bob.peer, "session": "s-1", "candidate": candidate})
            await bob.until("candidate", 3)
            lines = [message["candidate"] for message in bob.messages if message["type"] == "candidate"]
            assert lines == ["candidate:1", "candidate:2", ""]
            alice.client.send({"type": "decline", "to": bob.peer, "session": "s-1"})
            assert (await bob.until("decline"))["session"] == "s-1"
            alice.client.send({"type": "mesh"})
            assert {row["peer"] for row in (await alice.until("mesh"))["peers"]} == {alice.peer, bob.peer}
            await bob.client.close()
            alice.client.send({**offer, "session": "s-2"})
            assert await alice.until("unreachable") == {"type": "unreachable", "peer": bob.peer, "session": "s-2"}
    assert (alice.client.state, bob.client.state) == ("closed", "closed")
    assert (alice.client.dropped, alice.client.malformed) == (0, 0)
    assert alice.states == ["connected", "closed"]


async def test_the_owner_publishes_the_curve_and_ends_the_run(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        owner, member = Member(server.owner_link), Member(server.link)
        async with members(owner, member):
            assert owner.client.role == "owner"
            owner.client.send({"type": "evaluation", "time_s": 1.5, "accuracy": 0.9})
            assert await member.until("evaluation") == {"type": "evaluation", "time_s": 1.5, "accuracy": 0.9}
            member.client.send({"type": "finish", "reason": "I say so"})
            assert (await member.until("error"))["code"] == "forbidden"
            owner.client.send({"type": "finish", "reason": "accurate enough"})
            assert (await member.until("over"))["reason"] == "accurate enough"
            await member.client.wait()
            assert member.client.state == "over"
            assert not member.client.send({"type": "mesh"})
        late = Member(server.link)
        with pytest.raises(MeshError, match=f"Run {server.created.run} is over; its results are at http://"):
            await late.client.connect()
        assert late.client.state == "over"
        await late.client.close()


async def test_the_servers_for_addresses_are_known_before_messages_come(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        member = Member(server.link)
        assert await member.client.fetch_ice_servers() == list(ICE_SERVERS)
        assert member.messages == []
        async with members(member):
            await member.until("welcome")
        assert [message["type"] for message in member.messages] == ["welcome"]
        unused = Member(server.link)
        await unused.client.fetch_ice_servers()
        await unused.client.close()


async def test_a_client_comes_back_to_a_server_that_was_restarted(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        naps = Naps()
        member = Member(server.link, sleep=naps)
        async with members(member):
            await member.until("welcome")
            await server.stop()
            await member.until_state("away")
            assert not member.client.send({"type": "report", "steps": 1})
            assert member.client.dropped == 1
            while len(naps.durations) < 12:
                await asyncio.sleep(0)
            await server.start()
            await member.until("welcome", 2)
            assert member.client.state == "connected"
            assert member.client.send({"type": "mesh"})
            await member.until("mesh")
        ceilings = [min(0.5 * 2**attempt, 30.0) for attempt in range(12)]
        for duration, ceiling in zip(naps.durations, ceilings, strict=False):
            assert 0.5 * ceiling <= duration <= 1.5 * ceiling
        assert len({duration / ceiling for duration, ceiling in zip(naps.durations, ceilings, strict=False)}) > 6
    assert member.states == ["connected", "away", "connected", "closed"]


async def test_a_client_that_returns_to_a_run_that_ended_hears_of_the_end(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        member = Member(server.link, sleep=Naps())
        async with members(member):
            await server.stop()
            await member.until_state("away")
            status = tmp_path / "runs" / server.created.run / "status.json"
            status.write_text(json.dumps({"state": "over", "reason": "enough"}))
            await server.start()
            await member.until("over")
            await member.client.wait()
        assert member.client.state == "over"


async def test_a_second_program_with_the_same_key_is_a_refusal(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        first = Member(server.link)
        second = Member(server.link, first.identity)
        async with members(first, second):
            with pytest.raises(MeshError, match="give each program a key file of its own"):
                await first.client.wait()
            assert (first.client.state, second.client.state) == ("refused", "connected")
            with pytest.raises(MeshError, match="give each program a key file of its own"):
                await first.client.connect()


async def test_what_the_server_refuses_is_not_tried_again(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        link = server.link
        wrong_token = Member(JoinLink(link.base_url, link.run, "x" * 22))
        with pytest.raises(MeshError, match="refuses the token of this link; ask for the whole join link again"):
            await wrong_token.client.connect()
        unknown_run = Member(JoinLink(link.base_url, "abcdefgh23", link.token))
        with pytest.raises(MeshError, match="has no run abcdefgh23; check the link"):
            await unknown_run.client.connect()
        for member in (wrong_token, unknown_run):
            await member.client.close()


async def test_a_dead_server_is_named_with_the_way_to_start_it(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        link = server.link
    member = Member(link)
    with pytest.raises(MeshError) as raised:
        await member.client.connect()
    assert str(raised.value) == f"No server answers at {link.base_url}; check the link or start it with `meshlearn serve`."
    await member.client.close()


def say(*texts: str) -> Any:
    """A server that says this and then waits for the client to go."""

    async def play(socket: web.WebSocketResponse) -> None:
        for text in texts:
            await socket.send_str(text)
        async for _ in socket:
            pass

    return play


CHALLENGE = json.dumps({"type": "challenge", "nonce": encode_base64url(bytes(32)), "version": 1})
WELCOME = json.dumps(
    {"type": "welcome", "peer": PEER, "peers": [], "ice_servers": [], "state": "open", "online": 1, "role": "member"}
)


def error(code: str) -> str:
    return json.dumps({"type": "error", "code": code, "message": "What the server says."})


@pytest.mark.parametrize(
    ("play", "sentence"),
    [
        (say(CHALLENGE.replace('"version": 1', '"version": 2')), "speaks another version of the protocol"),
        (say(CHALLENGE, error("version")), "install the same version of meshlearn on both sides"),
        (say(CHALLENGE, error("wrong_proof")), "does not accept this peer's key"),
        (say(CHALLENGE, error("run_over")), "is over; its results are at"),
        (say(CHALLENGE, error("taken")), "give each program a key file of its own"),
        (say(CHALLENGE, error("full")), "is full; try again later"),
        (say(CHALLENGE, error("bad_message")), "What the server says."),
        (say("hello"), "is no meshlearn server"),
        (say(WELCOME), "is no meshlearn server"),
        (say(CHALLENGE, CHALLENGE), "is no meshlearn server"),
        (None, r"is no meshlearn server \(HTTP 404\)"),
    ],
)
async def test_every_refusal_is_one_sentence(play: Any, sentence: str) -> None:
    async with odd_server(play) as link:
        member = Member(link)
        with pytest.raises(MeshError, match=sentence):
            await member.client.connect()
        assert member.messages == []
        await member.client.close()


async def test_a_server_that_is_full_is_asked_again_by_those_who_were_members() -> None:
    visits = 0

    async def play(socket: web.WebSocketResponse) -> None:
        nonlocal visits
        visits += 1
        await socket.send_str(CHALLENGE)
        await socket.receive()
        await socket.send_str(error("full") if visits in (2, 3) else WELCOME)
        if visits == 4:
            async for _ in socket:
                pass

    async with odd_server(play) as link:
        member = Member(link, sleep=Naps())
        async with members(member):
            await member.until("welcome", 2)
    assert visits == 4


async def test_what_the_server_says_wrongly_is_ignored_and_counted() -> None:
    texts = ["no JSON", '{"type": "gossip"}', '{"type": "over"}', '{"type": "peers", "peers": [1]}', "[" * 10_000]
    async with odd_server(say(CHALLENGE, WELCOME, *texts, json.dumps({"type": "over", "reason": "end"}))) as link:
        member = Member(link)
        async with members(member):
            await member.client.wait()
    assert [message["type"] for message in member.messages] == ["welcome", "over"]
    assert member.client.malformed == len(texts)


async def test_a_handler_that_fails_does_not_end_the_membership() -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context["exception"]))
    async with odd_server(say(CHALLENGE, WELCOME, json.dumps({"type": "over", "reason": "end"}))) as link:
        member = Member(link)

        def fail(message: dict[str, Any]) -> None:
            raise RuntimeError(message["type"])

        member.client.on_message(fail)
        await member.client.connect()
        await member.client.wait()
        await member.client.close()
    assert [str(fault) for fault in faults] == ["welcome", "over"]


async def test_the_queue_is_bounded_and_sending_keeps_to_the_servers_allowance() -> None:
    heard: list[str] = []
    complete = asyncio.Event()

    async def play(socket: web.WebSocketResponse) -> None:
        await socket.send_str(CHALLENGE)
        await socket.receive()
        await socket.send_str(WELCOME)
        async for message in socket:
            heard.append(message.data)
            if len(heard) == 256:
                complete.set()

    async with odd_server(play) as link:
        naps = Naps()
        member = Member(link, sleep=naps, clock=lambda: 0.0)
        async with members(member):
            await member.until("welcome")
            taken = [member.client.send({"type": "report", "steps": number}) for number in range(300)]
            assert taken == [True] * 256 + [False] * 44
            assert member.client.dropped == 44
            await complete.wait()
            assert [json.loads(text)["steps"] for text in heard] == list(range(256))
            # 150 at once by the allowance, then one every 1/40 s.
            assert naps.durations == [pytest.approx(1 / 40)] * 106
        with pytest.raises(ValueError, match="at most 65536 are allowed"):
            member.client.send({"type": "report", "text": "x" * MESSAGE_BYTES_MAX})


async def test_closing_sends_what_is_queued_and_leaves(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        alice, bob = Member(server.link), Member(server.link)
        async with members(alice, bob):
            await alice.until("welcome")
            alice.client.send({"type": "decline", "to": bob.peer, "session": "s"})
            await alice.client.close()
            await alice.client.close()
            await bob.until("decline")
            bob.client.send({"type": "sample", "count": 8})
            assert (await bob.until("peers"))["peers"] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_client_may_be_closed_while_it_is_away(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server:
        member = Member(server.link, sleep=Naps(at_once=False))
        async with members(member):
            await server.stop()
            await member.until_state("away")
    assert member.client.state == "closed"
    await member.client.wait()


GOOD: dict[str, dict[str, Any]] = {
    "challenge": {"nonce": encode_base64url(bytes(32)), "version": 1},
    "welcome": json.loads(WELCOME),
    "peers": {"peers": [{"peer": PEER, "kind": "browser"}]},
    "mesh": {"peers": [{"peer": PEER, "kind": "browser", "steps": 3}]},
    "offer": {"from": PEER, "session": "s", "sdp": SDP, "signature": SIGNATURE},
    "answer": {"from": PEER, "session": "s", "sdp": SDP, "signature": SIGNATURE},
    "candidate": {"from": PEER, "session": "s", "candidate": "candidate:1"},
    "decline": {"from": PEER, "session": "s"},
    "unreachable": {"peer": PEER, "session": "s"},
    "evaluation": {"time_s": 1.0},
    "over": {"reason": "enough"},
    "error": {"code": "too_fast", "message": "Slower."},
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_message_is_taken_whole_or_not_at_all(kind: str) -> None:
    good = {**GOOD[kind], "type": kind, "later": {"fields": ["may", "come"]}}
    if kind == "evaluation":
        del good["later"]
    assert decode_message(encode_message(good)) == good
    for name in GOOD[kind]:
        if name == "type":
            continue
        for broken in ({key: value for key, value in good.items() if key != name}, {**good, name: [[]]}):
            if kind == "evaluation" and name not in broken:
                continue
            with pytest.raises(MalformedMessage):
                decode_message(encode_message(broken))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '{"type": 1}',
        '{"type": "join"}',
        '{"type": "evaluation", "time_s": NaN}',
        '{"type": "evaluation", "time_s": 1e999}',
        '{"type": "evaluation", "time_s": true}',
        '{"type": "over", "reason": "x", "deep": ' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"type": "over", "reason": "' + "x" * MESSAGE_BYTES_MAX + '"}',
        '{"type": "unreachable", "session": "s", "peer": "' + PEER + '="}',
        '{"type": "unreachable", "session": "s", "peer": "\\ud800"}',
        '{"type": "unreachable", "session": "", "peer": "' + PEER + '"}',
    ],
)
def test_text_that_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_message(text)
