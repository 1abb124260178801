"""What a run is made of, over HTTP: manifest, initial vector, history and data shards.

Files are named by their content, so that they may be cached for ever, and are sent whole or as one range
(RFC 9110, sections 13 and 14). No CORS header is ever sent: other sites' pages have no business here.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from aiohttp import web

from signaling import strict_json
from signaling.errors import StorageError
from signaling.limits import CHUNK_BYTES, CHUNK_S, HISTORIES_CACHED_MAX, HISTORY_LINES_MAX, HISTORY_POINTS_MAX
from signaling.registry import INITIAL, MANIFEST, Registry, Run

IMMUTABLE: Final = "public, max-age=31536000, immutable"
IMMUTABLE_PRIVATE: Final = "private, max-age=31536000, immutable"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_POINTS = re.compile(r"[1-9]\d{0,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to be sent, also compressed where that makes them smaller."""

    tag: str
    plain: bytes
    zipped: bytes | None

    @staticmethod
    def of(data: bytes, tag: str) -> Body:
        """Compress `data` once, for all who ask for it."""
        zipped = gzip.compress(data, 6, mtime=0) if len(data) > 1024 else data
        return Body(tag, data, zipped if len(zipped) < 0.9 * len(data) else None)


def failure(status: int, sentence: str, **headers: str) -> web.Response:
    """Make an answer that says in one sentence what is wrong."""
    body = strict_json.dumps({"error": sentence}).encode("ascii")
    return web.Response(
        status=status, body=body, content_type="application/json", headers={"Cache-Control": "no-store", **headers}
    )


def send_body(request: web.Request, body: Body, *, content_type: str, cache: str, status: int = 200) -> web.Response:
    """Make the answer for a body in memory: 304 where the client has it, compressed where it can read that."""
    headers = {"ETag": f'"{body.tag}"', "Cache-Control": cache, "Vary": "Accept-Encoding"}
    if status == 200 and _matches(request.headers.get("If-None-Match"), body.tag):
        return web.Response(status=304, headers=headers)
    data = body.plain
    if body.zipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        data = body.zipped
        headers["Content-Encoding"] = "gzip"
    return web.Response(status=status, body=data, headers={**headers, "Content-Type": content_type})


async def send_file(request: web.Request, path: Path, *, sha256: str, content_type: str, cache: str) -> web.StreamResponse:
    """Send a file that is named by its content, or one range of it; 404 where it is not there."""
    loop = asyncio.get_running_loop()
    try:
        file = await loop.run_in_executor(None, FileIO, path)
    except OSError:
        return failure(404, "There is no such file on this server.")
    try:
        size = os.fstat(file.fileno()).st_size
        headers = {"ETag": f'"{sha256}"', "Cache-Control": cache, "Accept-Ranges": "bytes"}
        if _matches(request.headers.get("If-None-Match"), sha256):
            return web.Response(status=304, headers=headers)
        part = _range(request, size, sha256)
        if part is None:
            return failure(416, "The range lies behind the end.", **{"Content-Range": f"bytes */{size}"})
        start, stop = part
        whole = (start, stop) == (0, size)
        if not whole:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        response = web.StreamResponse(status=200 if whole else 206, headers=headers)
        response.content_type = content_type
        response.content_length = stop - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        while start < stop:
            chunk = await loop.run_in_executor(None, _read_at, file, start, min(CHUNK_BYTES, stop - start))
            if not chunk:
                raise ConnectionResetError("the file became shorter while it was sent")
            # Whoever takes longer than this for one chunk holds a file and a connection for nothing.
            async with asyncio.timeout(CHUNK_S):
                await response.write(chunk)
            start += len(chunk)
        return response
    finally:
        file.close()


def _read_at(file: FileIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def bearer(request: web.Request) -> str:
    """Give the token of ``Authorization: Bearer <token>``, or an empty text."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class ContentRoutes:
    """The handlers for manifest, initial vector, history and shards."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._histories: OrderedDict[tuple[str, int], Body] = OrderedDict()

    def add_to(self, app: web.Application) -> None:
        """Register the handlers."""
        app.router.add_get("/api/runs/{run}/manifest", self.manifest)
        app.router.add_get("/api/runs/{run}/initial", self.initial)
        app.router.add_get("/api/runs/{run}/history", self.history)
        app.router.add_get("/shards/{sha256}", self.shard)

    def readable(self, request: web.Request) -> Run | web.Response:
        """Give the run of the request's path, or the answer that refuses it."""
        run = self._registry.get(request.match_info["run"])
        if run is None:
            return failure(404, "This server has no such run.")
        if not self._registry.may_read(run, bearer(request)):
            return unauthorized()
        return run

    async def manifest(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs/<run>/manifest: the bytes of manifest.json."""
        run = self.readable(request)
        if isinstance(run, web.Response):
            return run
        return await send_file(
            request,
            run.directory / MANIFEST,
            sha256=run.digest,
            content_type="application/json",
            cache=_cache(private=run.facts.private),
        )

    async def initial(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs/<run>/initial: the initial vector as safetensors."""
        run = self.readable(request)
        if isinstance(run, web.Response):
            return run
        return await send_file(
            request,
            run.directory / INITIAL,
            sha256=run.facts.initial_sha256,
            content_type="application/octet-stream",
            cache=_cache(private=run.facts.private),
        )

    async def history(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs/<run>/history[?points=n]: a JSON list of evaluations, at most n, evenly spread."""
        run = self.readable(request)
        if isinstance(run, web.Response):
            return run
        text = request.query.get("points", str(HISTORY_LINES_MAX))
        if _POINTS.fullmatch(text) is None:
            return failure(400, "The parameter points is not a positive integer.")
        try:
            body = self._history_body(run, int(text))
        except StorageError as error:
            return failure(503, str(error))
        return send_body(request, body, content_type="application/json", cache="no-cache")

    def _history_body(self, run: Run, points: int) -> Body:
        history = self._registry.history(run)
        if points > HISTORY_POINTS_MAX:
            # Whole histories are for tools, seldom asked for and up to 4.4 MB: neither kept nor compressed.
            lines = history.points(min(points, HISTORY_LINES_MAX))
            return Body(f"{history.tag}-all", _json_list(lines), None)
        # Only powers of two, so that a run has at most eleven bodies to be made and kept.
        points = 1 << (points.bit_length() - 1)
        key, tag = (run.facts.run, points), f"{history.tag}-{points}"
        body = self._histories.get(key)
        if body is None or body.tag != tag:
            body = self._histories[key] = Body.of(_json_list(history.points(points)), tag)
            if len(self._histories) > HISTORIES_CACHED_MAX:
                self._histories.popitem(last=False)
        self._histories.move_to_end(key)
        return body

    async def shard(self, request: web.Request) -> web.StreamResponse:
        """GET /shards/<sha256>: data by content, open where one of its runs is open."""
        sha256 = request.match_info["sha256"]
        found = self._registry.shard(sha256)
        if found is None:
            return failure(404, "This server has no such shard.")
        path, runs = found
        token = bearer(request)
        if not any(self._registry.may_read(run, token) for run in runs):
            return unauthorized()
        private = all(run.facts.private for run in runs)
        return await send_file(
            request, path, sha256=sha256, content_type="application/octet-stream", cache=_cache(private=private)
        )


def _json_list(lines: Sequence[bytes]) -> bytes:
    return b"[" + b",\n".join(lines) + b"]"


def unauthorized() -> web.Response:
    """Make the answer for somebody who lacks the token of a private run."""
    return failure(401, "This run is private: send its token as a bearer token.", **{"WWW-Authenticate": "Bearer"})


def _cache(*, private: bool) -> str:
    return IMMUTABLE_PRIVATE if private else IMMUTABLE


def _matches(header: str | None, tag: str) -> bool:
    """If-None-Match: a list of tags or a star, compared weakly (RFC 9110, section 13.1.2)."""
    if header is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in tags or f'"{tag}"' in tags


def _range(request: web.Request, size: int, tag: str) -> tuple[int, int] | None:
    """Give start and stop of what is asked for; None where nothing of it exists.

    What is not one well-formed range of bytes is ignored, as RFC 9110 (section 14.2) allows, and so is a range of
    another version of the file (If-Range).
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if_range = request.headers.get("If-Range")
    if match is None or match[0] == "bytes=-" or (if_range is not None and if_range != f'"{tag}"'):
        return 0, size
    first, last = match[1], match[2]
    if not first:
        length = min(int(last), size)
        return (size - length, size) if length else None
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return 0, size
    return (start, stop) if start < size else None
