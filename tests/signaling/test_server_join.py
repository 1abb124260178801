"""Joining over a real socket, with real keys: who gets in, who does not, and who takes whose place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signaling.fields import to_base64url
from signaling.identity import join_text
from signaling.registry import CreatedRun
from tests.signaling.support import Client, Site, new_run, site


async def refused(client: Client, reply: dict[str, Any], code: str) -> None:
    """The client is told why, in a sentence, and the connection is closed with 4003."""
    assert (reply["type"], reply["code"]) == ("error", code)
    assert reply["message"].endswith(".")
    assert await client.closed() == 4003


async def test_a_peer_that_signs_the_challenge_is_welcomed(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    welcome = await client.join(run.run, run.join_token)
    assert next(iter(welcome)) == "type"
    assert welcome == {
        "type": "welcome",
        "peer": client.peer,
        "peers": [],
        "ice_servers": [{"urls": "stun:stun.example.org"}],
        "state": "open",
        "online": 1,
        "role": "member",
    }
    second = await server.connect()
    welcome = await second.join(run.run, run.join_token, kind="browser")
    assert welcome["peers"] == [{"peer": client.peer, "kind": "python"}]
    assert welcome["online"] == 2


async def test_the_owners_token_makes_an_owner(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    assert (await client.join(run.run, run.owner_token, kind="tracker"))["role"] == "owner"


async def test_a_wrong_token_is_refused(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    await refused(client, await client.join(run.run, "A" * 22), "wrong_token")


async def test_an_unknown_run_is_refused(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    await refused(client, await client.join("a" * 10, run.join_token), "unknown_run")


async def test_the_signature_of_another_key_is_refused(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    nonce = await client.challenged()
    proof = to_base64url(Ed25519PrivateKey.generate().sign(join_text(run.run, nonce)))
    await refused(client, await client.ask(client.join_message(run.run, run.join_token, proof=proof)), "wrong_proof")


async def test_a_proof_for_another_challenge_is_refused(server: Site, run: CreatedRun) -> None:
    first, second = await server.connect(), await server.connect()
    old = await first.challenged()
    assert await second.challenged() != old
    message = {**first.join_message(run.run, run.join_token)}
    await refused(second, await second.ask(message), "wrong_proof")


async def test_a_proof_for_another_run_is_refused(server: Site, run: CreatedRun, state_dir: Path) -> None:
    other = new_run(state_dir)
    client = await server.connect()
    nonce = await client.challenged()
    proof = to_base64url(client.key.sign(join_text(other.run, nonce)))
    await refused(client, await client.ask(client.join_message(run.run, run.join_token, proof=proof)), "wrong_proof")


async def test_a_key_that_is_no_point_of_the_curve_is_refused(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    await client.challenged()
    message = client.join_message(run.run, run.join_token, peer=to_base64url(b"\xff" * 32))
    await refused(client, await client.ask(message), "wrong_proof")


async def test_another_version_of_the_protocol_is_refused(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    await refused(client, await client.join(run.run, run.join_token, version=2), "version")


async def test_a_malformed_join_may_be_repeated(server: Site, run: CreatedRun) -> None:
    client = await server.connect()
    await client.challenged()
    reply = await client.ask({"type": "join", "run": run.run})
    assert reply["code"] == "bad_message"
    assert (await client.ask(client.join_message(run.run, run.join_token)))["type"] == "welcome"


async def test_a_run_made_while_the_server_runs_can_be_joined(server: Site, state_dir: Path) -> None:
    created = new_run(state_dir)
    await server.joined(created)


async def test_a_peer_that_comes_back_replaces_its_old_connection(server: Site, run: CreatedRun) -> None:
    key = Ed25519PrivateKey.generate()
    old = await server.joined(run, key=key)
    new = await server.joined(run, key=key)
    assert await old.closed() == 4001
    other = await server.joined(run)
    await other.send({"type": "decline", "to": new.peer, "session": "s1"})
    assert await new.receive() == {"type": "decline", "from": other.peer, "session": "s1"}


async def test_who_leaves_is_closed_with_1000_and_gone(server: Site, run: CreatedRun) -> None:
    one, other = await server.joined(run), await server.joined(run)
    await one.send({"type": "leave"})
    assert await one.closed() == 1000
    assert (await other.ask({"type": "mesh"}))["online"] == 1


async def test_a_connection_that_breaks_is_noticed(server: Site, run: CreatedRun) -> None:
    one, other = await server.joined(run), await server.joined(run)
    await one.ws.close()
    # The server answered the close, so that the connection is gone for it.
    reply = await other.ask({"type": "candidate", "to": one.peer, "session": "s", "candidate": None})
    assert reply == {"type": "unreachable", "peer": one.peer, "session": "s"}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"])
async def test_a_page_of_another_site_may_not_connect(server: Site, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await server.connect(headers={"Origin": origin})
    assert refusal.value.status == 403


async def test_our_own_page_may_connect(server: Site, run: CreatedRun) -> None:
    client = await server.connect(headers={"Origin": server.url})
    assert (await client.join(run.run, run.join_token, kind="browser"))["type"] == "welcome"


async def test_the_257th_connection_of_an_address_is_told_that_the_server_is_full(server: Site, run: CreatedRun) -> None:
    clients = [await server.connect() for _ in range(256)]
    for client in clients:
        await client.challenged()
    one_more = await server.connect()
    assert (await one_more.receive())["code"] == "full"
    assert await one_more.closed() == 1013
    await clients[0].ws.close()
    again = await server.connect()
    assert (await again.join(run.run, run.join_token))["type"] == "welcome"


async def test_behind_a_proxy_the_forwarded_address_counts(run: CreatedRun, state_dir: Path) -> None:
    async with site(state_dir, trust_proxy=True, connections_per_address_max=1) as server:
        first = await server.connect(headers={"X-Forwarded-For": "198.51.100.1"})
        await first.challenged()
        spoofed = await server.connect(headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.1"})
        assert (await spoofed.receive())["code"] == "full"
        other = await server.connect(headers={"X-Forwarded-For": "198.51.100.2"})
        await other.challenged()


async def test_without_a_proxy_the_header_is_not_believed(run: CreatedRun, state_dir: Path) -> None:
    async with site(state_dir, connections_per_address_max=1) as server:
        first = await server.connect(headers={"X-Forwarded-For": "198.51.100.1"})
        await first.challenged()
        other = await server.connect(headers={"X-Forwarded-For": "198.51.100.2"})
        assert (await other.receive())["code"] == "full"
