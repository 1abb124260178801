"""The pages: what they show, what they never show, and what they forbid themselves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from signaling.messages import Evaluation
from signaling.page import PAGE_DIRECTORY, Markup, fill, short_number
from signaling.registry import CreatedRun
from tests.signaling.support import Site, new_run, site

EVIL = '"><script>alert(1)</script>{{title}}&'


async def page(server: Site, path: str, **headers: str) -> tuple[int, str, str]:
    async with server.session.get(server.url + path, headers=headers) as response:
        return response.status, await response.text(), response.headers.get("Content-Security-Policy", "")


async def test_the_start_page_lists_the_runs(server: Site, run: CreatedRun) -> None:
    state = server.server.registry
    state.append_evaluation(state.runs()[0], Evaluation(time_s=1, accuracy=0.5))
    status, text, policy = await page(server, "/")
    assert status == 200
    # A public run invites whoever sees it: its card is its join link.
    assert f'href="/r/{run.run}#{run.join_token}"' in text
    assert "Handwritten digits" in text
    assert "50.0\N{NO-BREAK SPACE}%" in text
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_a_run_page_says_what_is_trained_by_whom_and_on_which_data(server: Site, run: CreatedRun) -> None:
    status, text, policy = await page(server, f"/r/{run.run}")
    assert status == 200
    for expected in ("Handwritten digits", "by A test", "Flatten → Dense 10", "7,850", "CC BY 4.0", "goal 90.0"):
        assert expected in text
    assert "unsafe" not in policy
    assert run.join_token not in text
    assert "{{" not in text


async def test_pages_hold_no_inline_script_or_style_and_name_no_other_host(server: Site, run: CreatedRun) -> None:
    for path in ("/", f"/r/{run.run}", "/nothing"):
        _, text, _ = await page(server, path)
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text)
        assert not re.search(r"(?:https?:)?//[\w.]+", text)


async def test_every_file_that_a_page_names_is_served(server: Site, run: CreatedRun) -> None:
    for path in ("/", f"/r/{run.run}", "/nothing"):
        _, text, _ = await page(server, path)
        for name in re.findall(r'(?:href|src)="(/assets/[^"]+)"', text):
            async with server.session.get(server.url + name) as response:
                assert response.status == 200, name
                content = await response.text()
            for module in re.findall(r"from '\./([\w.]+)'", content):
                async with server.session.get(f"{server.url}/assets/{module}") as response:
                    assert response.status == 200
                    assert response.content_type == "text/javascript"


async def test_what_a_run_says_about_itself_is_text_and_never_markup(state_dir: Path) -> None:
    fields = {"title": EVIL, "description": EVIL, "by": EVIL}
    hostile = new_run(state_dir, **fields, data={"name": EVIL, "license": EVIL})
    async with site(state_dir) as server:
        server.server.registry.finish(server.server.registry.runs()[0], EVIL)
        for path in ("/", f"/r/{hostile.run}"):
            status, text, _ = await page(server, path)
            assert status == 200
            assert "<script>alert" not in text
            assert "&lt;script&gt;alert(1)&lt;/script&gt;{{title}}&amp;" in text


async def test_a_private_runs_page_is_a_shell_until_its_token_is_sent(state_dir: Path) -> None:
    private = new_run(state_dir, private=True)
    async with site(state_dir) as server:
        _, text, _ = await page(server, f"/r/{private.run}")
        assert "Handwritten digits" not in text
        assert 'data-private="private"' in text
        _, text, _ = await page(server, f"/r/{private.run}", Authorization=f"Bearer {private.join_token}")
        assert "Handwritten digits" in text
        _, text, _ = await page(server, "/")
        assert private.run not in text


@pytest.mark.parametrize("path", ["/r/aaaaaaaaaa", "/r/x", "/nothing", "/assets/nothing.js", "/assets/..%2fserver.py"])
async def test_what_is_not_there_is_not_found(server: Site, path: str) -> None:
    assert (await page(server, path))[0] == 404


async def test_every_answer_carries_the_security_headers(server: Site, run: CreatedRun) -> None:
    for path in ("/", f"/r/{run.run}", "/api/runs", "/metrics", "/healthz", "/nothing", "/assets/style.css", "/favicon.ico"):
        async with server.session.get(server.url + path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Server"] == "meshlearn"
            assert "Access-Control-Allow-Origin" not in response.headers


ISOLATED = [
    ({}, True),
    ({"Host": "localhost:8080"}, True),
    ({"Host": "[::1]:8080"}, True),
    ({"Host": "192.168.1.7:8080"}, False),
    ({"Host": "127.0.0.1.example:8080"}, False),
    ({"Host": "runs.example"}, False),
    ({"Host": "runs.example", "X-Forwarded-Proto": "https"}, True),
    ({"Host": "runs.example", "Sec-Fetch-Site": "none"}, True),
]


@pytest.mark.parametrize(("headers", "is_isolated"), ISOLATED)
async def test_pages_are_isolated_where_browsers_heed_it_so_that_workers_may_share_a_memory(
    server: Site, headers: dict[str, str], is_isolated: bool
) -> None:
    async with server.session.get(server.url + "/", headers=headers) as response:
        opener, embedder = ("same-origin", "require-corp") if is_isolated else (None, None)
        assert response.headers.get("Cross-Origin-Opener-Policy") == opener
        assert response.headers.get("Cross-Origin-Embedder-Policy") == embedder


async def test_files_are_asked_for_again_only_when_they_have_changed(server: Site) -> None:
    async with server.session.get(f"{server.url}/assets/style.css") as response:
        tag = response.headers["ETag"]
    async with server.session.get(f"{server.url}/assets/style.css", headers={"If-None-Match": tag}) as response:
        assert response.status == 304


async def test_a_built_browser_peer_takes_the_place_of_the_run_page(run: CreatedRun, state_dir: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    shutil.copytree(PAGE_DIRECTORY, pages, ignore=shutil.ignore_patterns("dist"))
    (pages / "dist" / "assets").mkdir(parents=True)
    (pages / "dist" / "index.html").write_text("<title>{{title}}</title><script type=module src=/assets/peer-1a2b.js></script>")
    (pages / "dist" / "assets" / "peer-1a2b.js").write_text("export {}")
    (pages / "dist" / "assets" / "kernels-3c4d.wasm").write_bytes(b"\0asm\1\0\0\0")
    async with site(state_dir, page_directory=pages) as server:
        _, text, policy = await page(server, f"/r/{run.run}")
        assert text.startswith("<title>Handwritten digits</title>")
        assert "'wasm-unsafe-eval'" in policy
        assert "'unsafe-inline'" not in policy
        assert "wasm" not in (await page(server, "/"))[2]
        for name, kind in (("peer-1a2b.js", "text/javascript"), ("kernels-3c4d.wasm", "application/wasm")):
            async with server.session.get(f"{server.url}/assets/{name}") as response:
                assert response.content_type == kind
                assert "immutable" in response.headers["Cache-Control"]


def test_templates_escape_what_they_are_given() -> None:
    assert fill("<p>{{a}}{{b}}{{c}}</p>", {"a": "<&\"'>", "b": Markup("<b>")}) == "<p>&lt;&amp;&quot;&#x27;&gt;<b></p>"
    assert fill("{{a}}", {"a": "{{b}}", "b": "x"}) == "{{b}}"


def test_numbers_are_short() -> None:
    space = "\N{NO-BREAK SPACE}"
    written = [short_number(number) for number in (0, 950, 7850, 109_386, 1_863_690, 4.2e9)]
    assert written == ["0", "950", f"7.85{space}k", f"109{space}k", f"1.86{space}M", f"4.2{space}G"]
