"""The pages: the list of runs at ``/`` and one run at ``/r/<id>``, with the few files that they need.

Everything comes from the directory ``page/`` beside this file and is read once, at the start::

    page/index.html, run.html, missing.html    templates; {{name}} stands for a text, which is escaped
    page/*.css, *.js, *.svg                    served at /assets/<name>
    page/dist/                                 optional: a built browser peer, which takes the place of run.html

Where ``page/dist/index.html`` exists, it is served at ``/r/<id>`` with the same {{title}} and {{description}}, the
files of ``page/dist/assets/`` are served at ``/assets/`` and cached for ever (their names hold a hash of their
content), and the Content-Security-Policy also allows WebAssembly and workers of our own.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from signaling.registry import Registry
from signaling.shards import IMMUTABLE, Body, bearer, failure, send_body
from signaling.summary import Summaries

PAGE_DIRECTORY: Final = Path(__file__).with_name("page")

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_STRICT: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_BROWSER_PEER: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Together they isolate the page, which loads nothing of others: only then do browsers let its Workers share a memory. Browsers
# heed them over https and on this computer only, and elsewhere complain of them.
ISOLATION_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
_LOOPBACK = re.compile(r"(.+\.)?localhost|127(\.\d{1,3}){3}|\[::1\]", re.IGNORECASE)
# Sent with every answer of the server.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file in memory."""

    body: Body
    content_type: str
    cache: str


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put `values` in the place of {{name}}, escaped unless they are Markup; an unknown name stays empty."""

    def value(match: re.Match[str]) -> str:
        text = values.get(match[1], "")
        return text if isinstance(text, Markup) else html.escape(text)

    return _PLACEHOLDER.sub(value, template)


def headers_for(request: web.BaseRequest) -> dict[str, str]:
    """The security headers of an answer, those of isolation among them where a browser heeds them.

    A proxy may speak https for the server: then it says so, or the browser does, which sends Sec-Fetch-Site to no other address.
    """
    is_https = request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    is_loopback = _LOOPBACK.fullmatch(re.sub(r":\d+$", "", request.host)) is not None
    isolates = is_https or is_loopback or "Sec-Fetch-Site" in request.headers
    return {**SECURITY_HEADERS, **(ISOLATION_HEADERS if isolates else {})}


class Pages:
    """The handlers for the pages and their files."""

    def __init__(self, registry: Registry, summaries: Summaries, directory: Path = PAGE_DIRECTORY) -> None:
        """Read the files; an OSError here means that the installation is broken."""
        self._registry = registry
        self._summaries = summaries
        self._assets: dict[str, Asset] = {}
        self._index = (directory / "index.html").read_text("utf-8")
        self._missing = (directory / "missing.html").read_text("utf-8")
        self._run = (directory / "run.html").read_text("utf-8")
        self._run_policy = _STRICT
        self._load(directory.iterdir(), "no-cache")
        dist = directory / "dist"
        if (dist / "index.html").is_file():
            self._run = (dist / "index.html").read_text("utf-8")
            self._run_policy = _BROWSER_PEER
            if (dist / "assets").is_dir():
                self._load((dist / "assets").iterdir(), IMMUTABLE)

    def add_to(self, app: web.Application) -> None:
        """Register the handlers."""
        app.router.add_get("/", self.index)
        app.router.add_get("/r/{run}", self.run)
        app.router.add_get("/assets/{name}", self.asset)
        app.router.add_get("/favicon.ico", self.icon)
        app.router.add_get("/robots.txt", self.robots)

    async def index(self, request: web.Request) -> web.StreamResponse:
        """GET /: all public runs."""
        runs = self._summaries.all()
        cards = Markup("".join(_card(run, self._join_path(run)) for run in runs))
        online = sum(run["online"] for run in runs)
        values = {
            "cards": cards,
            "count": _count(len(runs), "run"),
            "online": _count(online, "peer"),
            "empty": "" if runs else "empty",
        }
        return self._page(request, self._index, values, _STRICT)

    def _join_path(self, summary: Mapping[str, Any]) -> str:
        """Return the join link of a public run: whoever may see it listed may take part; a private run is not listed."""
        run = self._registry.get(summary["run"])
        open_to_all = run is not None and not run.facts.private and run.state == "open"
        return (
            f"/r/{summary['run']}#{run.join_token.decode('ascii')}" if run is not None and open_to_all else f"/r/{summary['run']}"
        )

    async def run(self, request: web.Request) -> web.StreamResponse:
        """GET /r/<id>: one run. Of a private run only the shell, until its token is sent (by the page itself)."""
        run = self._registry.get(request.match_info["run"])
        if run is None:
            return await self.missing(request)
        if not self._registry.may_read(run, bearer(request)):
            values = {"title": "A private run", "run": run.facts.run, "private": "private", "show": "no-token"}
            return self._page(request, self._run, values, self._run_policy)
        values = _run_values(self._summaries.one(run))
        return self._page(request, self._run, values, self._run_policy)

    async def missing(self, request: web.Request) -> web.StreamResponse:
        """Answer every other address: there is nothing here."""
        return self._page(request, self._missing, {}, _STRICT, status=404)

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """GET /assets/<name>: a file of the pages."""
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            return failure(404, "There is no such file on this server.")
        response = send_body(request, asset.body, content_type=asset.content_type, cache=asset.cache)
        # A Worker is bound by the policy of its own script, not by that of the page.
        response.headers["Content-Security-Policy"] = self._run_policy
        return response

    async def icon(self, request: web.Request) -> web.StreamResponse:
        """GET /favicon.ico, for browsers that do not read the link to icon.svg."""
        asset = self._assets["icon.svg"]
        return send_body(request, asset.body, content_type=asset.content_type, cache="public, max-age=86400")

    async def robots(self, request: web.Request) -> web.StreamResponse:
        """GET /robots.txt: run pages are for those who have the link."""
        return web.Response(text="User-agent: *\nDisallow: /r/\nDisallow: /api/\nDisallow: /shards/\n")

    def _load(self, paths: Iterable[Path], cache: str) -> None:
        for path in sorted(paths):
            content_type = _TYPES.get(path.suffix)
            if content_type is None or path.suffix == ".html" or not path.is_file():
                continue
            data = path.read_bytes()
            body = Body.of(data, hashlib.sha256(data).hexdigest()[:16])
            self._assets[path.name] = Asset(body, content_type, cache)

    def _page(
        self, request: web.Request, template: str, values: Mapping[str, str], policy: str, *, status: int = 200
    ) -> web.Response:
        data = fill(template, values).encode("utf-8")
        body = Body.of(data, hashlib.sha256(data).hexdigest()[:16])
        response = send_body(request, body, content_type=_TYPES[".html"], cache="no-cache", status=status)
        response.headers["Content-Security-Policy"] = policy
        return response


def short_number(number: float) -> str:
    """Write a number in a few characters: 950, 12.3 k, 4.5 M."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{number:.0f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _accuracy(run: Mapping[str, Any]) -> float | None:
    last = run["last"]
    return None if last is None else last.get("accuracy")


def _state(run: Mapping[str, Any]) -> str:
    if run["state"] == "over":
        return "over"
    return "live" if run["online"] else "waiting"


_STATE_WORDS: Final = {"live": "Live", "waiting": "Waiting for peers", "over": "Over"}


def _card(run: Mapping[str, Any], link: str) -> str:
    data = run["data"]["name"]
    facts = [run["by"] and f"by {run['by']}", data, f"{short_number(run['parameters'])}\N{NO-BREAK SPACE}parameters"]
    values = {
        "run": run["run"],
        "link": link,
        "title": run["title"],
        "facts": " · ".join(fact for fact in facts if fact),
        "state": _state(run),
        "word": _STATE_WORDS[_state(run)],
        "accuracy": _percent(_accuracy(run)),
        "online": _count(run["online"], "peer"),
    }
    return fill(_CARD, values)


_CARD: Final = """
      <li class="card run" data-run="{{run}}">
        <p class="state {{state}}" data-field="state">{{word}}</p>
        <h3><a href="{{link}}">{{title}}</a></h3>
        <p class="facts">{{facts}}</p>
        <svg class="spark" data-field="curve" aria-hidden="true" focusable="false"></svg>
        <p class="figures"><span><b data-field="accuracy">{{accuracy}}</b> accuracy</span>
          <span data-field="online">{{online}}</span></p>
      </li>"""


def _what(run: Mapping[str, Any]) -> str:
    """Say in a sentence what is trained; the browser's page keeps it up to date (browser/src/page/intro.ts)."""
    data, online = run["data"], run["online"]
    examples = f" ({_count(data['examples'], 'example')})" if data["examples"] else ""
    if online:
        now = f"{_count(online, 'peer')} {'is' if online == 1 else 'are'} here now"
    else:
        now = "nobody is training yet" if run["last"] is None else "nobody is here right now"
    return f"A model of {short_number(run['parameters'])} parameters learns from {data['name']}{examples}; {now}."


def _run_values(run: Mapping[str, Any]) -> dict[str, str]:
    data = run["data"]
    kinds = run["kinds"]
    last = run["last"] or {}
    paragraphs = [line.strip() for line in run["description"].split("\n") if line.strip()]
    rows = [
        ("Model", " → ".join(run["layers"])),
        ("Parameters", f"{run['parameters']:,}"),
        ("Data", data["name"]),
        ("Examples", f"{data['examples']:,}" if data["examples"] else ""),
        ("Classes", str(data["classes"]) if data["classes"] else ""),
        ("Data licence", data["license"]),
        ("Started", run["created"][:10]),
        ("Run", run["run"]),
    ]
    return {
        "run": run["run"],
        "title": run["title"],
        "description": run["description"][:200],
        "what": _what(run),
        "paragraphs": Markup("".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)),
        "by": f"by {run['by']}" if run["by"] else "",
        "state": _state(run),
        "word": _STATE_WORDS[_state(run)],
        "reason": run["reason"],
        "show": "over" if run["state"] == "over" else "token",
        "accuracy": _percent(_accuracy(run)),
        "goal": "" if run["goal_accuracy"] is None else f"{run['goal_accuracy']:g}",
        "goal_words": "" if run["goal_accuracy"] is None else f"goal {_percent(run['goal_accuracy'])}",
        "online": f"{run['online']:,}",
        "python": f"{kinds['python']:,}",
        "browser": f"{kinds['browser']:,}",
        "tracker": f"{kinds['tracker']:,}",
        "rate": short_number(run["samples_per_second"]),
        "samples": short_number(last["samples"]) if "samples" in last else "–",
        "rows": Markup("".join(f"<div><dt>{name}</dt><dd>{html.escape(text)}</dd></div>" for name, text in rows if text)),
    }
