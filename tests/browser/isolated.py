"""A page whose Workers may share a memory: a few files from a server of our own, with the headers of the signaling server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

from playwright.async_api import Browser

from signaling.page import ISOLATION_HEADERS, SECURITY_HEADERS
from tests.browser.kernels import ROOT
from tests.browser.test_engine_chromium import bundled

_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", "": "text/html"}
_PAGE = b"<!doctype html><title>isolated</title>"
_ASK = """task => new Promise((resolve, reject) => {
  const owner = new Worker('/owner.js', { type: 'module' });
  owner.onmessage = ({ data }) => { owner.terminate(); resolve(data); };
  owner.onerror = event => reject(new Error(event.message));
  owner.postMessage(task);
})"""


@contextmanager
def isolated_site(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve an empty page at / and `files` by name; the site's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with a file."""
            name = self.path.lstrip("/")
            body = files.get(name) if name else _PAGE
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream"))
            for header, value in (SECURITY_HEADERS | ISOLATION_HEADERS).items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def team_files(owner: Path, directory: Path) -> dict[str, bytes]:
    """A script that owns an engine, that of the Workers that share its batches, and their kernels."""
    engine = ROOT / "browser" / "src" / "runtime" / "engineWorker.ts"
    kernels = ROOT / "browser" / "build" / "kernels-shared.wasm"
    return {
        "owner.js": bundled(owner, directory / "owner.js", "es").encode(),
        "engine.js": bundled(engine, directory / "engine.js", "es").encode(),
        kernels.name: kernels.read_bytes(),
    }


async def ask_owner(browser: Browser, site: str, task: dict[str, Any]) -> Any:
    """What the owner, a Worker of a fresh page, answers to a task."""
    page = await browser.new_page()
    await page.goto(site)
    answer = await page.evaluate(_ASK, task)
    await page.close()
    return answer
