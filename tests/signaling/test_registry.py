"""Runs on disk: whole or not there, found while the server runs, never the end of the server."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from signaling import files, limits, registry
from signaling.errors import RunError, StorageError
from signaling.fields import is_run, is_token
from signaling.messages import Evaluation
from signaling.registry import Registry, Run, create_run
from tests.signaling.support import INITIAL, SHARDS, manifest, new_run, sha256


def found(state: Registry, run: str) -> Run:
    result = state.get(run)
    assert result is not None
    return result


def test_a_new_run_is_complete_on_disk(tmp_path: Path) -> None:
    created = new_run(tmp_path)
    assert is_run(created.run)
    assert is_token(created.join_token)
    assert is_token(created.owner_token)
    directory = tmp_path / "runs" / created.run
    assert sorted(path.name for path in directory.iterdir()) == [
        "history.jsonl",
        "initial.safetensors",
        "manifest.json",
        "secrets.json",
        "status.json",
    ]
    if os.name != "nt":
        assert (directory / "secrets.json").stat().st_mode & 0o777 == 0o600
    written = json.loads((directory / "manifest.json").read_text())
    assert list(written)[:3] == ["format", "run", "title"]
    assert written["run"] == created.run
    assert written["initial"] == {"sha256": sha256(INITIAL), "bytes": len(INITIAL)}
    assert created.join_token not in (directory / "manifest.json").read_text()
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == sorted(map(sha256, SHARDS))


def test_a_run_without_a_date_gets_one(tmp_path: Path) -> None:
    fields = manifest()
    del fields["created"]
    created = create_run(tmp_path, fields, INITIAL, {sha256(data): data for data in SHARDS})
    assert found(Registry(tmp_path), created.run).facts.created.endswith("+00:00")


def test_shards_may_be_given_as_files_and_not_again(tmp_path: Path) -> None:
    paths = {}
    for data in SHARDS:
        paths[sha256(data)] = tmp_path / sha256(data)[:8]
        paths[sha256(data)].write_bytes(data)
    create_run(tmp_path / "state", manifest(), INITIAL, paths)
    again = create_run(tmp_path / "state", manifest(), INITIAL, {})
    assert found(Registry(tmp_path / "state"), again.run).facts.shards == tuple(map(sha256, SHARDS))


def test_a_run_made_by_another_process_is_found_without_a_restart(tmp_path: Path) -> None:
    state = Registry(tmp_path)
    assert state.runs() == []
    created = new_run(tmp_path)
    assert found(state, created.run).facts.title == "Handwritten digits"
    second = new_run(tmp_path, created="2025-06-02T00:00:00+00:00")
    assert [run.facts.run for run in state.runs()] == [second.run, created.run]
    assert state.shard(sha256(SHARDS[0])) is not None


def test_a_run_that_is_deleted_is_forgotten(tmp_path: Path) -> None:
    created, kept = new_run(tmp_path), new_run(tmp_path)
    state = Registry(tmp_path)
    (tmp_path / "runs" / created.run).rename(tmp_path / "elsewhere")
    assert [run.facts.run for run in state.runs()] == [kept.run]
    shard = state.shard(sha256(SHARDS[0]))
    assert shard is not None
    assert [run.facts.run for run in shard[1]] == [kept.run]


WRONG: dict[str, dict[str, Any]] = {
    "no title": {"title": None},
    "a title that is a number": {"title": 5},
    "a title of two lines": {"title": "a\nb"},
    "a title that is too long": {"title": "x" * 121},
    "no parameters": {"parameters": 0},
    "private as a text": {"private": "yes"},
    "a model that is a list": {"model": []},
    "a shard without hash": {"data": {"shards": [{"bytes": 1}]}},
    "a shard with a path as hash": {"data": {"shards": [{"sha256": "../../etc/passwd", "bytes": 1}]}},
    "a shard of no bytes": {"data": {"shards": [{"sha256": "0" * 64, "bytes": 0}]}},
    "a shard that was not given": {"data": {"shards": [{"sha256": "0" * 64, "bytes": 1}]}},
    "a setting that is no JSON": {"settings": {"seed": float("nan")}},
    "a seed that is too long": {"settings": {"seed": 2**128}},
    "a setting that is an object of Python": {"settings": {"seed": object()}},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_a_run_that_does_not_fit_together_is_refused_and_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=r"^[A-Z][^\n]+\.$"):
        new_run(tmp_path, **changes)
    assert Registry(tmp_path).runs() == []


def test_a_shard_with_another_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="another content"):
        create_run(tmp_path, manifest(), INITIAL, {sha256(SHARDS[0]): SHARDS[1]})


def test_an_empty_initial_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="empty"):
        create_run(tmp_path, manifest(), b"", {})


def test_tokens_open_their_roles_and_nothing_else(tmp_path: Path) -> None:
    created = new_run(tmp_path)
    state = Registry(tmp_path)
    run = found(state, created.run)
    assert state.role(run, created.join_token) == "member"
    assert state.role(run, created.owner_token) == "owner"
    for wrong in ("", "x", created.join_token[:-1], created.join_token + "A", "ä" * 22, "\ud800"):
        assert state.role(run, wrong) is None


CORRUPTIONS: dict[str, tuple[str, bytes]] = {
    "half a manifest": ("manifest.json", b'{"format":1,"run"'),
    "a manifest of zeros": ("manifest.json", bytes(500)),
    "a manifest of a list": ("manifest.json", b"[]"),
    "a manifest of deep nesting": ("manifest.json", b"[" * 100_000),
    "a manifest of another run": ("manifest.json", b'{"format":1,"run":"aaaaaaaaaa"}'),
    "an empty initial vector": ("initial.safetensors", b""),
    "secrets without tokens": ("secrets.json", b"{}"),
    "secrets that are no JSON": ("secrets.json", b"\xff\xfe"),
    "a status of its own": ("status.json", b'{"state":"asleep"}'),
}


@pytest.mark.parametrize(("name", "content"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_corrupt_run_is_told_once_and_skipped_until_it_is_repaired(tmp_path: Path, name: str, content: bytes) -> None:
    broken, whole = new_run(tmp_path), new_run(tmp_path)
    path = tmp_path / "runs" / broken.run / name
    good = path.read_bytes()
    path.write_bytes(content)
    told: list[str] = []
    state = Registry(tmp_path, report=told.append)
    state.runs()
    assert state.get(broken.run) is None
    assert [run.facts.run for run in state.runs()] == [whole.run]
    assert len(told) == 1
    assert broken.run in told[0]
    assert told[0].endswith(".")
    path.write_bytes(good)
    assert found(state, broken.run).facts.run == broken.run


@pytest.mark.parametrize("name", ["manifest.json", "initial.safetensors", "secrets.json", "status.json"])
def test_a_run_with_a_missing_file_is_skipped(tmp_path: Path, name: str) -> None:
    broken = new_run(tmp_path)
    (tmp_path / "runs" / broken.run / name).unlink()
    told: list[str] = []
    assert Registry(tmp_path, report=told.append).runs() == []
    assert len(told) == 1


def test_foreign_files_and_unfinished_runs_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".new-abcdefgh27").mkdir(parents=True)
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "readme.txt").write_text("hello")
    told: list[str] = []
    state = Registry(tmp_path, report=told.append)
    assert state.runs() == []
    assert len(told) == 2
    assert "never finished" in told[0]
    assert state.get("../runs") is None
    assert state.get("notes") is None


def test_a_crash_while_a_run_is_written_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(BaseException):
        pass

    def crash(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if path.name == "status.json":
            raise Crash
        files.write_new(path, data, mode=mode)

    monkeypatch.setattr(registry, "write_new", crash)
    with pytest.raises(Crash):
        new_run(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []


def fill_disk(monkeypatch: pytest.MonkeyPatch, after_bytes: int = 0) -> None:
    """Let os.write take so many bytes more and then fail as on a full disk."""
    write = os.write
    room = after_bytes

    def full(descriptor: int, data: Any) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, bytes(data)[:room])
        room -= written
        return written

    monkeypatch.setattr(files.os, "write", full)


def test_a_full_disk_is_one_sentence_and_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch, after_bytes=100)
    with pytest.raises(StorageError, match=r"disk .* is full"):
        new_run(tmp_path)
    monkeypatch.undo()
    assert list((tmp_path / "runs").iterdir()) == []
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_full_disk_leaves_the_history_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created = new_run(tmp_path)
    state = Registry(tmp_path)
    run = found(state, created.run)
    state.append_evaluation(run, Evaluation(time_s=1, accuracy=0.5))
    before = (run.directory / "history.jsonl").read_bytes()
    fill_disk(monkeypatch, after_bytes=10)
    with pytest.raises(StorageError, match="is full"):
        state.append_evaluation(run, Evaluation(time_s=2, accuracy=0.6))
    monkeypatch.undo()
    assert (run.directory / "history.jsonl").read_bytes() == before
    assert len(state.history(run)) == 1
    state.append_evaluation(run, Evaluation(time_s=3, accuracy=0.7))
    assert len(Registry(tmp_path).history(run)) == 2


def test_the_end_of_a_run_outlives_the_server(tmp_path: Path) -> None:
    created = new_run(tmp_path)
    state = Registry(tmp_path)
    state.finish(found(state, created.run), "Reached the goal.")
    again = found(Registry(tmp_path), created.run)
    assert (again.state, again.reason) == ("over", "Reached the goal.")


def test_a_state_directory_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StorageError, match=r"cannot be used: .*\.$"):
        Registry(tmp_path / "state")


def test_only_so_many_runs_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RUNS_MAX", 2)
    for _ in range(3):
        new_run(tmp_path)
    told: list[str] = []
    assert len(Registry(tmp_path, report=told.append).runs()) == 2
    assert len(told) == 1


def test_only_so_many_histories_are_held(tmp_path: Path) -> None:
    created = [new_run(tmp_path) for _ in range(3)]
    state = Registry(tmp_path)
    for one in created:
        state.append_evaluation(found(state, one.run), Evaluation(time_s=1, accuracy=0.5))
    assert limits.HISTORIES_CACHED_MAX >= limits.RUNS_LISTED_MAX + limits.METRICS_RUNS_MAX
    assert all(len(state.history(found(state, one.run))) == 1 for one in created)
