"""Manifests, vectors, histories and shards over HTTP: whole, in ranges, cached, and private where they are."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from pathlib import Path

import pytest

from signaling.fields import is_run
from signaling.messages import Evaluation
from signaling.registry import CreatedRun
from tests.signaling.support import INITIAL, SHARDS, Site, manifest, new_run, sha256, site

SHARD = SHARDS[0]
SIZE = len(SHARD)


async def test_a_shard_is_sent_whole_and_may_be_kept_for_ever(server: Site) -> None:
    async with server.session.get(f"{server.url}/shards/{sha256(SHARD)}") as response:
        assert response.status == 200
        assert await response.read() == SHARD
        assert response.headers["ETag"] == f'"{sha256(SHARD)}"'
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers


RANGES = {
    "the first byte": ("bytes=0-0", 0, 1),
    "a middle": ("bytes=10-19", 10, 20),
    "from a byte to the end": ("bytes=100-", 100, SIZE),
    "the last ten": ("bytes=-10", SIZE - 10, SIZE),
    "more than there is": (f"bytes={SIZE - 5}-{SIZE * 9}", SIZE - 5, SIZE),
    "a longer end than there is": (f"bytes=-{SIZE * 9}", 0, SIZE),
}


@pytest.mark.parametrize(("header", "start", "stop"), RANGES.values(), ids=RANGES.keys())
async def test_a_range_of_a_shard(server: Site, header: str, start: int, stop: int) -> None:
    async with server.session.get(f"{server.url}/shards/{sha256(SHARD)}", headers={"Range": header}) as response:
        assert await response.read() == SHARD[start:stop]
        whole = (start, stop) == (0, SIZE)
        assert response.status == (200 if whole else 206)
        assert response.headers.get("Content-Range") == (None if whole else f"bytes {start}-{stop - 1}/{SIZE}")


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 7}-{SIZE + 9}", "bytes=-0", "bytes=" + "9" * 18 + "-"])
async def test_a_range_behind_the_end(server: Site, header: str) -> None:
    async with server.session.get(f"{server.url}/shards/{sha256(SHARD)}", headers={"Range": header}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("header", ["bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=١-٢"])
async def test_what_is_not_one_range_gives_the_whole(server: Site, header: str) -> None:
    async with server.session.get(f"{server.url}/shards/{sha256(SHARD)}", headers={"Range": header}) as response:
        assert response.status == 200
        assert await response.read() == SHARD


async def test_a_range_of_another_version_gives_the_whole(server: Site) -> None:
    url = f"{server.url}/shards/{sha256(SHARD)}"
    for tag, status in ((f'"{sha256(SHARD)}"', 206), ('"another"', 200)):
        async with server.session.get(url, headers={"Range": "bytes=0-4", "If-Range": tag}) as response:
            assert response.status == status


async def test_what_the_client_has_is_not_sent_again(server: Site) -> None:
    url = f"{server.url}/shards/{sha256(SHARD)}"
    for tag, status in ((f'"{sha256(SHARD)}"', 304), (f'"x", W/"{sha256(SHARD)}"', 304), ("*", 304), ('"x"', 200)):
        async with server.session.get(url, headers={"If-None-Match": tag}) as response:
            assert response.status == status


async def test_head_tells_the_size_and_sends_nothing(server: Site) -> None:
    async with server.session.head(f"{server.url}/shards/{sha256(SHARD)}") as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == str(SIZE)
        assert await response.read() == b""


async def test_a_large_shard_arrives_whole(state_dir: Path) -> None:
    data = hashlib.shake_256(b"large").digest(3_000_001)
    fields = manifest()
    fields["data"]["test"] = {"sha256": sha256(data), "bytes": len(data)}
    (state_dir / "shards").mkdir(parents=True)
    (state_dir / "shards" / sha256(data)).write_bytes(data)
    new_run(state_dir, data=fields["data"])
    async with site(state_dir) as server, server.session.get(f"{server.url}/shards/{sha256(data)}") as response:
        assert await response.read() == data


@pytest.mark.parametrize("name", ["0" * 64, "abc", "..%2f..%2fetc%2fpasswd", "A" * 64])
async def test_no_other_file_can_be_had(server: Site, name: str) -> None:
    async with server.session.get(f"{server.url}/shards/{name}") as response:
        assert response.status == 404


async def test_a_shard_whose_file_is_gone_is_not_found(server: Site, state_dir: Path) -> None:
    (state_dir / "shards" / sha256(SHARD)).unlink()
    async with server.session.get(f"{server.url}/shards/{sha256(SHARD)}") as response:
        assert response.status == 404
        assert (await response.json())["error"].endswith(".")


async def test_the_manifest_is_sent_byte_for_byte(server: Site, run: CreatedRun, state_dir: Path) -> None:
    on_disk = (state_dir / "runs" / run.run / "manifest.json").read_bytes()
    async with server.session.get(f"{server.url}/api/runs/{run.run}/manifest") as response:
        assert response.content_type == "application/json"
        assert await response.read() == on_disk
        assert response.headers["ETag"] == f'"{sha256(on_disk)}"'


async def test_the_initial_vector_is_sent(server: Site, run: CreatedRun) -> None:
    async with server.session.get(f"{server.url}/api/runs/{run.run}/initial") as response:
        assert await response.read() == INITIAL
        assert response.headers["ETag"] == f'"{sha256(INITIAL)}"'


async def test_an_unknown_run_is_not_found(server: Site) -> None:
    for path in ("", "/manifest", "/initial", "/history"):
        async with server.session.get(f"{server.url}/api/runs/aaaaaaaaaa{path}") as response:
            assert response.status == 404


async def test_the_history_is_a_list_thinned_as_asked(server: Site, run: CreatedRun) -> None:
    state = server.server.registry
    for time_s in range(100):
        state.append_evaluation(state.runs()[0], Evaluation(time_s=time_s, accuracy=time_s / 100))
    url = f"{server.url}/api/runs/{run.run}/history"
    async with server.session.get(url) as response:
        assert [line["time_s"] for line in await response.json()] == list(range(100))
    async with server.session.get(f"{url}?points=40") as response:
        times = [line["time_s"] for line in await response.json()]
        tag = response.headers["ETag"]
        # Rounded down to a power of two, so that few different answers have to be kept.
        assert (len(times), times[0], times[-1]) == (32, 0, 99)
    async with server.session.get(f"{url}?points=33", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    state.append_evaluation(state.runs()[0], Evaluation(time_s=100, accuracy=1))
    async with server.session.get(f"{url}?points=40", headers={"If-None-Match": tag}) as response:
        assert response.status == 200
    for points in ("0", "-1", "many", "1e3", "9999999"):
        async with server.session.get(f"{url}?points={points}") as response:
            assert response.status == 400


async def test_answers_are_compressed_for_those_who_can_read_them(server: Site, run: CreatedRun) -> None:
    state = server.server.registry
    for time_s in range(100):
        state.append_evaluation(state.runs()[0], Evaluation(time_s=time_s, accuracy=0.5))
    url = f"{server.url}/api/runs/{run.run}/history?points=64"
    async with server.session.get(url, headers={"Accept-Encoding": "identity"}) as response:
        assert "Content-Encoding" not in response.headers
        plain = await response.read()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    path = url.removeprefix(server.url)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(body) == plain


async def test_the_list_of_runs_has_curves_and_no_secrets(server: Site, run: CreatedRun) -> None:
    state = server.server.registry
    state.append_evaluation(state.runs()[0], Evaluation(time_s=1, accuracy=0.5, loss=2))
    state.append_evaluation(state.runs()[0], Evaluation(time_s=2, loss=1))
    await server.joined(run)
    async with server.session.get(f"{server.url}/api/runs") as response:
        text = await response.text()
    [listed] = json.loads(text)["runs"]
    assert is_run(listed["run"])
    assert listed["curve"] == [[1, 0.5]]
    assert listed["online"] == 1
    assert listed["last"] == {"time_s": 2, "loss": 1}
    assert listed["data"] == {"name": "Digits", "license": "CC BY 4.0", "examples": 200, "classes": 10}
    assert run.join_token not in text
    assert run.owner_token not in text


async def test_a_summary_is_made_once_a_second(server: Site, run: CreatedRun) -> None:
    url = f"{server.url}/api/runs/{run.run}"

    async def online() -> int:
        async with server.session.get(url) as response:
            count = (await response.json())["online"]
            assert isinstance(count, int)
            return count

    assert await online() == 0
    await server.joined(run)
    assert await online() == 0
    server.clock.now += 1
    assert await online() == 1


async def test_a_private_run_opens_to_its_tokens_only(state_dir: Path) -> None:
    private = new_run(state_dir, private=True)
    async with site(state_dir) as server:
        paths = [f"/api/runs/{private.run}{part}" for part in ("", "/manifest", "/initial", "/history")]
        paths.append(f"/shards/{sha256(SHARD)}")
        for path in paths:
            for header, status in (
                (None, 401),
                ("Bearer " + "A" * 22, 401),
                ("Basic " + private.join_token, 401),
                (f"Bearer {private.join_token}", 200),
                (f"bearer {private.owner_token}", 200),
            ):
                headers = {} if header is None else {"Authorization": header}
                async with server.session.get(server.url + path, headers=headers) as response:
                    assert response.status == status, (path, header)
                    assert "public" not in response.headers["Cache-Control"]
        async with server.session.get(f"{server.url}/api/runs") as response:
            assert await response.json() == {"runs": []}


async def test_a_shard_of_a_private_and_a_public_run_is_public(state_dir: Path) -> None:
    new_run(state_dir, private=True)
    async with site(state_dir) as server:
        url = f"{server.url}/shards/{sha256(SHARD)}"
        async with server.session.get(url) as response:
            assert response.status == 401
        new_run(state_dir)
        server.server.registry.refresh()
        async with server.session.get(url) as response:
            assert response.status == 200
