"""The join link of a run, and fetching what it leads to: manifest, initial vector, shards.

A link reads `http(s)://HOST:PORT/r/RUN#TOKEN`. The token stands behind the `#`, which no browser and no HTTP client sends,
so it reaches no log. What is fetched is bounded before it is read and, where its hash is known, checked after.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from meshlearn.errors import MeshError

# 30,000 shards of about 130 characters each.
MANIFEST_BYTES_MAX: Final = 4 << 20
# 268 million parameters as float32.
INITIAL_BYTES_MAX: Final = 1 << 30
# Inflated shards have a limit of their own; a compressed one beyond this is none that was ever packed.
SHARD_BYTES_MAX: Final = 256 << 20

# One evaluation is about 150 characters.
HISTORY_POINT_BYTES_MAX: Final = 4_096
# Ten years.
TIME_S_MAX: Final = 3.2e8

_CHUNK_BYTES: Final = 1 << 18
# A server that sends nothing for this long is dead; how long a whole file takes depends on its size.
_SILENCE_S: Final = 30.0
_RUN = re.compile(r"[a-z2-7]{10}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")
_SHA_256 = re.compile(r"[0-9a-f]{64}")
_FORM: Final = "it looks like http://HOST:PORT/r/RUN#TOKEN"


@dataclass(frozen=True, slots=True)
class JoinLink:
    """A parsed link; `base_url` has no slash at its end. The token is left out of its repr."""

    base_url: str
    run: str
    token: str = field(repr=False)

    @property
    def websocket_url(self) -> str:
        """Where the signaling server listens."""
        return f"ws{self.base_url.removeprefix('http')}/ws"

    @property
    def page_url(self) -> str:
        """The run's page, without the token."""
        return f"{self.base_url}/r/{self.run}"


def parse_join_link(link: str) -> JoinLink:
    """Return the parts of a link as a person pastes it; raises MeshError with one sentence on what is wrong."""
    text = link.strip().strip("<>'\"")
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known or parts.username is not None or parts.query:
        raise MeshError(f"{_shown(text)} is not a join link; {_FORM}.")
    prefix, separator, run = parts.path.rstrip("/").rpartition("/r/")
    if not separator or _RUN.fullmatch(run) is None:
        raise MeshError(f"{_shown(text)} names no run; a join link {_FORM.removeprefix('it ')}.")
    if not parts.fragment:
        raise MeshError("The join link has no token; copy all of it, with the # and what follows, and put it in quotes.")
    if _TOKEN.fullmatch(parts.fragment) is None:
        raise MeshError("The token behind the # of the join link is damaged; copy the whole link again.")
    return JoinLink(f"{parts.scheme}://{parts.netloc.lower()}{prefix}", run, parts.fragment)


def open_http() -> aiohttp.ClientSession:
    """Return an HTTP session fit for the functions of this module; the caller closes it."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=_SILENCE_S)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


async def fetch_manifest(http: aiohttp.ClientSession, link: JoinLink) -> bytes:
    """Return the bytes of manifest.json as they are served: their SHA-256 is the run's digest.

    Raises MeshError where the server does not answer, has no such run, or serves something else.
    """
    content = await _fetch(http, link, f"api/runs/{link.run}/manifest", "the run's manifest", MANIFEST_BYTES_MAX)
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("run") != link.run:
        raise MeshError(f"{link.base_url} serves no manifest of run {link.run}; check that it is a meshlearn server.")
    return content


async def fetch_initial(http: aiohttp.ClientSession, link: JoinLink, sha256: str, size: int) -> bytes:
    """Return the initial vector (safetensors) of `size` bytes with this SHA-256; raises MeshError."""
    path = f"api/runs/{link.run}/initial"
    return await _fetch_exactly(http, link, path, "the initial model", sha256, size, INITIAL_BYTES_MAX)


async def fetch_shard(http: aiohttp.ClientSession, link: JoinLink, sha256: str, size: int) -> bytes:
    """Return the packed shard of `size` bytes with this SHA-256; raises MeshError."""
    return await _fetch_exactly(http, link, f"shards/{sha256}", "a shard of the data", sha256, size, SHARD_BYTES_MAX)


async def fetch_time_s(http: aiohttp.ClientSession, link: JoinLink) -> float:
    """Return the time of the last evaluation in the run's public history, in seconds; 0 where there is none. Raises MeshError."""
    path = f"api/runs/{link.run}/history?points=1"
    content = await _fetch(http, link, path, "the run's history", HISTORY_POINT_BYTES_MAX)
    try:
        time_s = json.loads(content)[-1]["time_s"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return 0.0
    return float(time_s) if isinstance(time_s, int | float) and 0 <= time_s < TIME_S_MAX else 0.0


async def _fetch_exactly(
    http: aiohttp.ClientSession, link: JoinLink, path: str, what: str, sha256: str, size: int, bytes_max: int
) -> bytes:
    if _SHA_256.fullmatch(sha256) is None or not 0 < size <= bytes_max:
        raise MeshError(f"The manifest describes {what} wrongly ({size} bytes, at most {bytes_max} are allowed).")
    content = await _fetch(http, link, path, what, size)
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        raise MeshError(f"{link.base_url} sent {what} damaged; try again.")
    return content


async def _fetch(http: aiohttp.ClientSession, link: JoinLink, path: str, what: str, bytes_max: int) -> bytes:
    headers = {"Authorization": f"Bearer {link.token}"}
    try:
        async with http.get(f"{link.base_url}/{path}", headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise MeshError(_status_sentence(link, what, response))
            if (response.content_length or 0) > bytes_max:
                raise MeshError(f"{link.base_url} sent {what} larger than {bytes_max} bytes; it was not read.")
            parts: list[bytes] = []
            received = 0
            async for part in response.content.iter_chunked(_CHUNK_BYTES):
                received += len(part)
                if received > bytes_max:
                    raise MeshError(f"{link.base_url} sent {what} larger than {bytes_max} bytes; it was not read.")
                parts.append(part)
            return b"".join(parts)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise MeshError(no_answer_sentence(link, error)) from error


def no_answer_sentence(link: JoinLink, error: BaseException) -> str:
    """Return the sentence for a server that could not be reached because of `error`."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return f"{link.base_url} has no valid certificate; check the link, or use http:// for a server of your own."
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"The connection to {link.base_url} broke off; try again."
    if isinstance(error, aiohttp.InvalidURL):
        return f"{link.base_url} is not an address; check the link."
    return f"No server answers at {link.base_url}; check the link or start it with `meshlearn serve`."


def _status_sentence(link: JoinLink, what: str, response: aiohttp.ClientResponse) -> str:
    if response.status in (401, 403):
        return f"{link.base_url} refuses the token of this link; ask for the whole join link again."
    if response.status == 404:
        return f"{link.base_url} does not have {what} ({link.run}); check the link."
    if 300 <= response.status < 400:
        target = response.headers.get("Location", "")
        return f"{link.base_url} sends visitors on to {_shown(target)}; use that address in the link."
    return f"{link.base_url} could not give {what} (HTTP {response.status}); try again later."


def _shown(text: str, characters_max: int = 60) -> str:
    """Return a text of somebody else as part of a sentence, without what may be a token."""
    text = text.partition("#")[0]
    return repr(text if len(text) <= characters_max else text[: characters_max - 3] + "...")
