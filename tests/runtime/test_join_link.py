"""A join link is taken apart with care, and what it leads to is bounded and checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web

from meshlearn.errors import MeshError
from meshlearn.runtime.join_link import (
    MANIFEST_BYTES_MAX,
    JoinLink,
    fetch_initial,
    fetch_manifest,
    fetch_shard,
    open_http,
    parse_join_link,
)
from tests.runtime.servers import INITIAL, SHARD, odd_server, real_server, sha256

TOKEN = "AbCdEfGhIjKlMnOpQrSt_-"


@pytest.mark.parametrize(
    ("text", "base_url"),
    [
        (f"http://127.0.0.1:8000/r/abcdefgh23#{TOKEN}", "http://127.0.0.1:8000"),
        (f"  <https://Example.org/r/abcdefgh23#{TOKEN}>\n", "https://example.org"),
        (f"'http://[::1]:8000/r/abcdefgh23/#{TOKEN}'", "http://[::1]:8000"),
        (f"https://example.org/mesh/r/abcdefgh23#{TOKEN}", "https://example.org/mesh"),
    ],
)
def test_a_link_has_a_server_a_run_and_a_token(text: str, base_url: str) -> None:
    link = parse_join_link(text)
    assert link == JoinLink(base_url, "abcdefgh23", TOKEN)
    assert link.websocket_url == base_url.replace("http", "ws", 1) + "/ws"
    assert link.page_url == base_url + "/r/abcdefgh23"
    assert TOKEN not in repr(link)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' is not a join link; it looks like http://HOST:PORT/r/RUN#TOKEN."),
        (f"127.0.0.1:8000/r/abcdefgh23#{TOKEN}", "'127.0.0.1:8000/r/abcdefgh23' is not a join link"),
        (f"ftp://127.0.0.1/r/abcdefgh23#{TOKEN}", "is not a join link"),
        (f"http:///r/abcdefgh23#{TOKEN}", "is not a join link"),
        (f"http://127.0.0.1:99999/r/abcdefgh23#{TOKEN}", "is not a join link"),
        (f"http://me:secret@127.0.0.1/r/abcdefgh23#{TOKEN}", "is not a join link"),
        (f"http://127.0.0.1/r/abcdefgh23?x#{TOKEN}", "is not a join link"),
        (f"http://127.0.0.1:8000/#{TOKEN}", "names no run; a join link looks like http://HOST:PORT/r/RUN#TOKEN."),
        (f"http://127.0.0.1:8000/r/ABCDEFGH23#{TOKEN}", "names no run"),
        ("http://127.0.0.1:8000/r/abcdefgh23", "has no token; copy all of it, with the # and what follows"),
        ("http://127.0.0.1:8000/r/abcdefgh23#abc", "The token behind the # of the join link is damaged"),
    ],
)
def test_a_damaged_link_is_explained_in_one_sentence_without_the_token(text: str, sentence: str) -> None:
    with pytest.raises(MeshError) as raised:
        parse_join_link(text)
    assert sentence in str(raised.value)
    assert TOKEN not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_manifest_initial_vector_and_shards_come_from_the_server(tmp_path: Path) -> None:
    async with real_server(tmp_path) as server, open_http() as http:
        content = await fetch_manifest(http, server.link)
        assert content == (tmp_path / "runs" / server.created.run / "manifest.json").read_bytes()
        initial = json.loads(content)["initial"]
        assert await fetch_initial(http, server.link, initial["sha256"], initial["bytes"]) == INITIAL
        assert await fetch_shard(http, server.link, sha256(SHARD), len(SHARD)) == SHARD
        unknown = JoinLink(server.link.base_url, "abcdefgh23", TOKEN)
        with pytest.raises(MeshError, match=r"does not have the run's manifest \(abcdefgh23\); check the link"):
            await fetch_manifest(http, unknown)
        for wrong in (sha256(INITIAL), "../../secrets"):
            with pytest.raises(MeshError, match="a shard of the data"):
                await fetch_shard(http, server.link, wrong, len(SHARD))
        with pytest.raises(MeshError, match="larger than 18 bytes; it was not read"):
            await fetch_shard(http, server.link, sha256(SHARD), len(SHARD) - 1)
    async with open_http() as http:
        with pytest.raises(MeshError, match=r"No server answers at http://127\.0\.0\.1:\d+; check the link or start it with"):
            await fetch_manifest(http, server.link)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (web.Response(text="hello"), "serves no manifest of run abcdefgh23"),
        (web.Response(text='{"run": "another"}'), "serves no manifest of run abcdefgh23"),
        (web.Response(body=b"\xff" * 3), "serves no manifest"),
        (web.Response(body=b"[" * 100_000), "serves no manifest"),
        (web.Response(body=bytes(MANIFEST_BYTES_MAX + 1)), f"larger than {MANIFEST_BYTES_MAX} bytes"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1/x"}), "sends visitors on to 'http://127.0.0.1/x'"),
        (web.Response(status=401), "refuses the token of this link; ask for the whole join link again"),
        (web.Response(status=503), r"could not give the run's manifest \(HTTP 503\); try again later"),
    ],
)
async def test_a_server_that_serves_something_else_is_told_apart(answer: web.Response, sentence: str) -> None:
    async with odd_server(answer=answer) as link, open_http() as http:
        with pytest.raises(MeshError, match=sentence):
            await fetch_manifest(http, link)


async def test_damaged_content_is_never_returned() -> None:
    async with odd_server(answer=web.Response(body=b"not the shard at all")) as link, open_http() as http:
        with pytest.raises(MeshError, match="sent a shard of the data damaged; try again"):
            await fetch_shard(http, link, sha256(SHARD), 20)
        with pytest.raises(MeshError, match="The manifest describes the initial model wrongly"):
            await fetch_initial(http, link, sha256(INITIAL), 0)
