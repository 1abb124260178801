"""A closure holds a run whole, and what is none, or not a sound one, is one sentence."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from meshlearn import closure as closure_module
from meshlearn.closure import CURRENT, HISTORY, INITIAL, MANIFEST, NAMES, Closure
from meshlearn.errors import MeshError, SettingsError, UserError
from meshlearn.learning.spec import initial_vector
from meshlearn.runtime.checkpoint import Evaluation, pack_model
from meshlearn.runtime.run import save_vector
from tests.runtime.runs import SmallRun

SMALL = SmallRun()
POINTS = (
    Evaluation(1.5, 20, 640, 0.5, 0.7, 0.01, 2, 4096),
    Evaluation(2.5, 40, 1280, 0.75, 0.1 + 0.2, 1e-9, 3, 8192),
)


def make_closure() -> Closure:
    current = initial_vector(SMALL.spec, 1) + np.float32(0.125)
    return Closure(SMALL.run, SMALL.initial, current, 40, POINTS)


def packed(parts: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # two parts of one name
        for name, data in parts.items() if isinstance(parts, dict) else parts:
            archive.writestr(name, data)
    return file.getvalue()


def sound_parts() -> dict[str, bytes]:
    file = io.BytesIO()
    path = Path("closure.zip")

    def keep(place: Path, data: bytes) -> None:
        file.write(data)

    original, closure_module.write_atomically = closure_module.write_atomically, keep
    try:
        make_closure().save(path)
    finally:
        closure_module.write_atomically = original
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


PARTS = sound_parts()


def test_a_run_comes_out_as_it_went_in(tmp_path):
    saved = make_closure()
    saved.save(tmp_path / "run.closure.zip")
    loaded = Closure.load(tmp_path / "run.closure.zip")
    assert loaded.run == saved.run
    assert loaded.run.manifest == SMALL.manifest
    assert loaded.initial.tolist() == initial_vector(SMALL.spec, 1).tolist()
    assert loaded.current.tolist() == saved.current.tolist()
    assert loaded.age == 40
    assert loaded.history == POINTS
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.closure.zip"]


def test_any_zip_program_opens_it(tmp_path):
    make_closure().save(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == list(NAMES)
        assert archive.testzip() is None
        assert archive.read(HISTORY).decode().splitlines()[0].startswith("time_s,steps,")


def test_parts_that_do_not_belong_together_are_not_written(tmp_path):
    sound = make_closure()
    foreign = save_vector(initial_vector(SMALL.spec, 2))
    with pytest.raises(MeshError, match="is not the run's"):
        Closure(sound.run, foreign, sound.current, 1, ()).save(tmp_path / "a")
    for current in (sound.current[:-1], sound.current.astype(np.float64), np.full_like(sound.current, np.nan)):
        with pytest.raises(SettingsError, match="finite float32 values"):
            Closure(sound.run, SMALL.initial, current, 1, ()).save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_an_older_file_outlives_a_write_that_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    make_closure().save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        make_closure().save(path)
    assert path.read_bytes() == before


def tensors(**changes: Any) -> bytes:
    """current.safetensors with some tensors replaced, or left out where None."""
    vector = initial_vector(SMALL.spec, 1)
    named = {p.name: vector[p.offset : p.offset + p.size].reshape(p.shape) for p in SMALL.spec.parameters}
    named = {name: value for name, value in {**named, **changes}.items() if value is not None}
    return bytes(save_safetensors(named, metadata={"age": "3"}))


FIRST = SMALL.spec.parameters[0]
BAD_PARTS: list[tuple[str, bytes]] = [
    (MANIFEST, b"{}"),
    (MANIFEST, b"nonsense"),
    (MANIFEST, SMALL.manifest_with("parameters", 3)),
    (INITIAL, b"nonsense"),
    (INITIAL, save_vector(initial_vector(SMALL.spec, 2))),
    (INITIAL, SMALL.initial + b"x"),
    (CURRENT, b""),
    (CURRENT, b"\xff" * 20),
    (CURRENT, SMALL.initial),
    (CURRENT, tensors(**{FIRST.name: None})),
    (CURRENT, tensors(more=np.zeros(1, np.float32))),
    (CURRENT, tensors(**{FIRST.name: np.zeros(FIRST.size, np.float32)})),
    (CURRENT, tensors(**{FIRST.name: np.zeros(FIRST.shape, np.float64)})),
    (CURRENT, tensors(**{FIRST.name: np.full(FIRST.shape, np.inf, np.float32)})),
    (CURRENT, pack_model(SMALL.spec, initial_vector(SMALL.spec, 1), age=-1, run="x")),
    (HISTORY, b""),
    (HISTORY, b"time,accuracy\n1,2\n"),
    (HISTORY, PARTS[HISTORY] + b"1,2,3\n"),
    (HISTORY, PARTS[HISTORY] + b"nan,1,1,1,1,1,1,1\n"),
    (HISTORY, PARTS[HISTORY] + b"1,1.5,1,1,1,1,1,1\n"),
    (HISTORY, PARTS[HISTORY] + "é".encode()),
]


@pytest.mark.parametrize(("name", "data"), BAD_PARTS)
def test_a_part_that_is_wrong_is_one_sentence(tmp_path, name, data):
    path = tmp_path / "a"
    path.write_bytes(packed({**PARTS, name: data}))
    with pytest.raises(UserError) as problem:
        Closure.load(path)
    assert "\n" not in str(problem.value)
    assert str(problem.value).endswith(".")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense" * 100,
        packed({}),
        packed({name: data for name, data in PARTS.items() if name != HISTORY}),
        packed({**PARTS, "more.txt": b"more"}),
        packed([*((name, PARTS[name]) for name in NAMES[:3]), (MANIFEST, PARTS[MANIFEST])]),
        packed(PARTS, zipfile.ZIP_BZIP2),
        packed(PARTS, zipfile.ZIP_LZMA),
    ],
    ids=["empty", "nonsense", "no files", "too few", "too many", "one twice", "bzip2", "lzma"],
)
def test_an_archive_of_another_kind_is_one_sentence(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(SettingsError):
        Closure.load(path)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        Closure.load(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="cannot be read"):
        Closure.load(tmp_path)


def test_a_part_larger_than_it_may_be_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(closure_module, "HISTORY_BYTES_MAX", 100)
    path = tmp_path / "a"
    path.write_bytes(packed({**PARTS, HISTORY: bytes(1_000_000)}))
    with pytest.raises(SettingsError, match="1000000 bytes; more than 100 were not read"):
        Closure.load(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_one_sentence_or_the_same_run(tmp_path_factory, data):
    sound = packed(PARTS, zipfile.ZIP_STORED)
    kind = data.draw(st.sampled_from(["flip", "cut"]))
    place = data.draw(st.integers(0, len(sound) - 1))
    damaged = sound[:place]
    if kind == "flip":
        damaged += bytes([sound[place] ^ (1 << data.draw(st.integers(0, 7)))]) + sound[place + 1 :]
    path = tmp_path_factory.mktemp("closure") / "a"
    path.write_bytes(damaged)
    problem, loaded = "", None
    try:
        loaded = Closure.load(path)
    except UserError as error:
        problem = str(error)
    if loaded is None:
        assert problem
        assert "\n" not in problem
    else:
        # Dates and attributes in the archive's directory mean nothing to us.
        assert loaded.run == SMALL.run
        assert loaded.current.tolist() == make_closure().current.tolist()
        assert loaded.history == POINTS
