"""The manifest of a run: what it says reaches every peer, and what is wrong with it is one sentence."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save as save_safetensors

from meshlearn.errors import MeshError, SettingsError, UserError
from meshlearn.learning.spec import initial_vector
from meshlearn.protocol.averaging import DriftCorrected, NoAveraging, Pairwise
from meshlearn.runtime.run import Run, RunSettings, load_vector, save_vector
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import PeerKind
from tests.runtime.runs import RUN_ID, SmallRun

SMALL = SmallRun(seed=1, goal_accuracy=0.9, step_limit=100)


def test_a_manifest_reads_back_as_it_was_written():
    run = SMALL.run
    assert (run.id, run.title, run.description, run.by) == (RUN_ID, "Signs", "Tells signs apart.", "a test")
    assert run.settings == RunSettings(seed=1, slice_length=16, batch_size=4, goal_accuracy=0.9, step_limit=100)
    assert run.spec.to_json() == SMALL.spec.to_json()
    assert len(run.data.shards) == 4
    assert run.digest == hashlib.sha256(SMALL.manifest).digest()
    assert run.tag == run.digest[:8]


def test_one_other_byte_is_another_run():
    other = Run.from_bytes(SMALL.manifest + b" ")
    assert other.tag != SMALL.run.tag


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("format", 2, "upgrade"),
        ("format", ..., "upgrade"),
        ("run", ..., "run"),
        ("run", 5, "run"),
        ("title", ["x"], "title"),
        ("title", "x" * 5_000, "title"),
        ("title", ..., "title"),
        ("description", 1, "description"),
        ("by", {}, "by"),
        ("created", None, "created"),
        ("private", "yes", "private"),
        ("surprise", 1, "surprise"),
        ("model", ..., "model"),
        ("model", 5, "model"),
        ("model", [], "model"),
        ("model.layers", [], "layers"),
        ("model.layers", [{"layer": "Teleport"}], "Teleport"),
        ("model.loss", "guess", "loss"),
        ("parameters", 3, "parameters"),
        ("parameters", "many", "parameters"),
        ("parameters", True, "parameters"),
        ("parameters", ..., "parameters"),
        ("initial", ..., "initial"),
        ("initial", 5, "initial"),
        ("initial.sha256", "x" * 64, "sha256"),
        ("initial.sha256", "ab", "sha256"),
        ("initial.sha256", 5, "sha256"),
        ("initial.bytes", 0, "bytes"),
        ("initial.bytes", -1, "bytes"),
        ("initial.bytes", 10**9, "bytes"),
        ("initial.bytes", 1.5, "bytes"),
        ("initial.more", 1, "more"),
        ("settings", ..., "settings"),
        ("settings", 5, "settings"),
        ("settings.surprise", 1, "surprise"),
        ("settings.slice_length", ..., "slice_length"),
        ("settings.slice_length", 0, "slice_length"),
        ("settings.slice_length", 10**9, "slice_length"),
        ("settings.slice_length", "16", "slice_length"),
        ("settings.seed", -1, "seed"),
        ("settings.seed", 2**60, "seed"),
        ("settings.codec", "zip", "codec"),
        ("settings.codec", 5, "codec"),
        ("settings.rule", "vote", "rule"),
        ("settings.rule", None, "rule"),
        ("settings.drift_gain", 0.5, "drift_gain"),
        ("settings.drift_gain", "a", "drift_gain"),
        ("settings.exchange_interval_s", 0, "exchange_interval_s"),
        ("settings.exchange_interval_s", 10**6, "exchange_interval_s"),
        ("settings.view_size", 0, "view_size"),
        ("settings.view_size", 65, "view_size"),
        ("settings.batch_size", 0, "batch_size"),
        ("settings.batch_size", True, "batch_size"),
        ("settings.optimiser", ..., "optimiser"),
        ("settings.optimiser", 5, "ptimiser"),
        ("settings", {"slice_length": 16, "rule": "drift-corrected", "optimiser": {"name": "adam"}}, "pairwise"),
        ("settings.optimiser", {"name": "magic"}, "magic"),
        ("settings.optimiser", {"name": "sgd", "learning_rate": -1}, "learning_rate"),
        ("settings.step_limit", 0, "step_limit"),
        ("settings.goal_accuracy", 1.5, "goal_accuracy"),
        ("settings.shards_per_peer", 0, "shards_per_peer"),
        ("data", ..., "data"),
        ("data", 5, "data"),
        ("data.shards", [], "shards"),
        ("data.shards", 5, "shards"),
        ("data.test", None, "test"),
        ("data.classes", 1, "classes"),
        ("data.class_names", ["one"], "class_names"),
        ("data.input_shape", [-1], "input_shape"),
        ("data.scale", 0, "scale"),
    ],
)
def test_a_field_that_is_wrong_is_named_in_one_sentence(path, value, word):
    with pytest.raises(UserError) as problem:
        Run.from_bytes(SMALL.manifest_with(path, value))
    sentence = str(problem.value)
    assert word in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'{"format": 1}', b'{"format": NaN}', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_manifest_is_a_sentence_too(text):
    with pytest.raises(UserError):
        Run.from_bytes(text)


def test_the_initial_vector_must_be_the_runs():
    run = SMALL.run
    assert run.read_initial(SMALL.initial).tolist() == initial_vector(run.spec, 1).tolist()
    with pytest.raises(MeshError, match="is not the run's"):
        run.read_initial(save_vector(initial_vector(run.spec, 2)))
    short = save_vector(np.zeros(3, np.float32))
    digest = hashlib.sha256(short).hexdigest()
    cut = Run.from_bytes(SMALL.manifest_with("initial", {"sha256": digest, "bytes": len(short)}))
    with pytest.raises(MeshError, match="3 values"):
        cut.read_initial(short)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"\xff" * 16,
        save_safetensors({"other": np.zeros(3, np.float32)}),
        save_safetensors({"vector": np.zeros(3, np.float64)}),
        save_safetensors({"vector": np.zeros((3, 1), np.float32)}),
        save_safetensors({"vector": np.array([1, np.nan], np.float32)}),
    ],
)
def test_a_vector_that_is_none_is_a_sentence(data):
    with pytest.raises(MeshError):
        load_vector(data)


def test_peers_and_trackers_get_the_settings_that_suit_them():
    run = SMALL.run
    peer = run.peer_config(bytes(32), PeerKind.PYTHON, "test")
    tracker = run.peer_config(bytes(32), PeerKind.TRACKER, "test")
    assert (peer.run_tag, peer.codec, peer.pull_codec) == (run.tag, Codec.MODULAR8, Codec.LINEAR8)
    assert tracker.pull_codec is Codec.FLOAT16
    assert tracker.introduce_interval_s < peer.introduce_interval_s
    assert not tracker.trains


@pytest.mark.parametrize(("name", "rule"), [("pairwise", Pairwise), ("drift-corrected", DriftCorrected), ("none", NoAveraging)])
def test_every_peer_gets_a_rule_of_its_own(name, rule):
    run = SmallRun(rule=name).run
    first, second = run.make_rule(), run.make_rule()
    assert type(first) is rule
    assert first is not second


def test_a_manifest_leaves_out_what_is_not_set():
    fields = json.loads(SmallRun().manifest)
    assert "step_limit" not in fields["settings"]
    assert "private" not in fields


def test_settings_that_make_no_run_are_refused_when_it_is_made():
    with pytest.raises(SettingsError, match="goal_accuracy"):
        SmallRun(goal_accuracy=2.0)
