"""Children that print JSON lines: heard line by line, ended by id, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from meshlearn.demo import processes
from meshlearn.demo.processes import Child

WAIT_S = 60.0


@pytest.fixture
def child(tmp_path, monkeypatch) -> Any:
    """``child("print(1)")`` runs that text instead of meshlearn."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -c "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))

    def make(code: str, on_line: Any = lambda child, fields: None) -> Child:
        return Child("a child", [code], tmp_path / "log", on_line)

    return make


async def test_every_event_is_heard_and_the_last_of_each_kind_kept(child):
    heard: list[tuple[str, int]] = []
    code = "import json\nfor n in range(3): print(json.dumps({'event': 'tick', 'n': n}))\nprint('{\"event\": \"end\", \"n\": 9}')"
    one = child(code, lambda who, fields: heard.append((fields["event"], fields["n"])))
    await one.start()
    assert await one.until(lambda: not one.running, WAIT_S)
    await one.stop()
    assert heard == [("tick", 0), ("tick", 1), ("tick", 2), ("end", 9)]
    assert one.last["tick"]["n"] == 2
    assert one.exit_code == 0
    assert not one.running


async def test_lines_that_are_no_events_and_lines_too_long_are_left_out(child):
    lines = ["hello", "[1]", "5", '{"no": "event"}', '{"event": 5}', "{", "", "\xff"]
    code = f"print('x' * {processes.LINE_BYTES_MAX * 3})\nfor line in {lines!r}: print(line)\nprint('{{\"event\": \"good\"}}')"
    one = child(code)
    await one.start()
    assert await one.until(lambda: "good" in one.last, WAIT_S)
    await one.stop()
    assert list(one.last) == ["good"]


async def test_waiting_for_what_never_comes_ends_with_the_child(child):
    one = child("import sys; sys.exit('meshlearn: something is wrong')")
    await one.start()
    assert not await one.until(lambda: "ready" in one.last, WAIT_S)
    await one.stop()
    assert one.exit_code == 1
    assert one.complaint() == "something is wrong"


async def test_waiting_has_a_limit(child):
    one = child("import time; time.sleep(600)")
    await one.start()
    assert not await one.until(lambda: "ready" in one.last, 0.05)
    one.kill()
    await one.stop()
    assert one.exit_code == -signal.SIGKILL
    assert one.complaint() == "it was ended by SIGKILL"


async def test_a_signal_to_a_child_that_has_just_died_leaves_its_exit_code(child):
    one = child("import time; time.sleep(600)")
    await one.start()
    one.kill()
    # Dead, and the loop, which does not run meanwhile, has not heard of it.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, one.process_id, os.WEXITED | os.WNOWAIT)
    one.signal(signal.SIGTERM)
    await one.stop()
    assert one.exit_code == -signal.SIGKILL


async def test_a_child_that_says_nothing_has_no_complaint(child):
    one = child("pass")
    assert (one.running, one.process_id, one.exit_code) == (False, None, None)
    await one.stop()
    assert one.complaint() == "it said nothing"
    await one.start()
    assert await one.until(lambda: not one.running, WAIT_S)
    await one.stop()
    assert one.complaint() == "it said nothing"


async def test_stop_asks_first_and_reads_the_last_words(child):
    code = (
        "import signal, sys, time\n"
        'def end(*_): print(\'{"event": "over"}\', flush=True); sys.exit(0)\n'
        'signal.signal(signal.SIGTERM, end)\nprint(\'{"event": "ready"}\', flush=True)\ntime.sleep(600)'
    )
    one = child(code)
    await one.start()
    assert await one.until(lambda: "ready" in one.last, WAIT_S)
    await one.stop()
    await one.stop()
    assert "over" in one.last
    assert one.exit_code == 0


async def test_a_child_that_does_not_listen_is_killed(child, monkeypatch):
    monkeypatch.setattr(processes, "STOP_GRACE_S", 0.1)
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        'print(\'{"event": "ready"}\', flush=True)\ntime.sleep(600)'
    )
    one = child(code)
    await one.start()
    assert await one.until(lambda: "ready" in one.last, WAIT_S)
    await one.stop()
    assert one.exit_code == -signal.SIGKILL


async def test_children_are_out_of_reach_of_the_terminals_ctrl_c(child):
    one = child('import time; print(\'{"event": "ready"}\', flush=True); time.sleep(600)')
    await one.start()
    assert await one.until(lambda: "ready" in one.last, WAIT_S)
    assert one.process_id is not None
    assert os.getpgid(one.process_id) != os.getpgid(0)
    one.kill()
    await one.stop()


async def test_a_child_hears_by_its_standard_input_that_its_parent_has_gone(tmp_path):
    state = tmp_path / "state"
    server = Child("server", ["serve", "--port", "0", "--state", str(state), "--json"], tmp_path / "log")
    await server.start()
    assert await server.until(lambda: "ready" in server.last, WAIT_S)
    assert server._process is not None
    assert server._process.stdin is not None
    server._process.stdin.close()  # as the system does for a process that is gone
    await asyncio.wait_for(server._process.wait(), WAIT_S)
    assert server.exit_code == 0
    await server.stop()
    assert Path(tmp_path / "log").read_text() == ""
