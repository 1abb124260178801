"""Shards: packed and unpacked, described by a manifest that strangers may send, and picked alike by every peer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning import shards
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.packing import pack_arrays
from meshlearn.learning.shards import DataManifest, Shard, make_shards, pack_shard, pick_shards, unpack_shard


def some_data(n: int, seed: int = 0, classes: int = 3, dtype: str = "uint8") -> Dataset:
    generator = np.random.default_rng(seed)
    inputs = generator.integers(0, 256, (n, 4, 3, 1)).astype(dtype)
    labels = np.concatenate([np.arange(min(n, classes)), generator.integers(0, classes, max(0, n - classes))])
    return Dataset(inputs, labels, classes, name="pets", license="CC0", scale=255.0 if dtype == "uint8" else 1.0)


@given(n=st.integers(1, 30), classes=st.sampled_from([2, 3, 256, 300]), dtype=st.sampled_from(["uint8", "float32"]))
def test_a_shard_unpacks_to_what_was_packed(n: int, classes: int, dtype: str) -> None:
    part = some_data(n, n, classes, dtype)
    found = unpack_shard(pack_shard(part), 10_000_000)
    assert found.inputs.dtype == part.inputs.dtype
    assert found.labels.dtype == (np.uint8 if classes <= 256 else np.int32)
    assert np.array_equal(found.inputs, part.inputs)
    assert np.array_equal(found.labels, part.labels)
    assert pack_shard(part) == pack_shard(some_data(n, n, classes, dtype))


def test_a_shard_that_inflates_beyond_its_limit_is_refused() -> None:
    with pytest.raises(DataError, match="A shard inflates to 100000000 bytes, but it may have at most 1000000"):
        unpack_shard(zstandard.ZstdCompressor().compress(bytes(100_000_000)), 1_000_000)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({}, "must hold inputs and labels, but it holds nothing"),
        ({"inputs": np.zeros((2, 3), np.uint8)}, "must hold inputs and labels, but it holds inputs"),
        ({"inputs": np.zeros((2, 3), np.uint8), "labels": np.zeros(2, np.int64)}, "labels of int64; they must be uint8 or int32"),
        ({"inputs": np.zeros((2, 3), np.int32), "labels": np.zeros(2, np.uint8)}, "must be uint8 or float32"),
        ({"inputs": np.zeros((2, 3), np.uint8), "labels": np.zeros(3, np.uint8)}, "its labels must be as many"),
        ({"inputs": np.zeros((2, 3), np.uint8), "labels": np.full(2, -1, np.int32)}, "must be from 0"),
        ({"inputs": np.full((2, 3), np.nan, np.float32), "labels": np.zeros(2, np.uint8)}, "not finite"),
        ({"inputs": np.zeros((0, 3), np.uint8), "labels": np.zeros(0, np.uint8)}, "has no examples"),
    ],
)
def test_a_shard_of_the_wrong_arrays_is_refused(arrays: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises(DataError, match=told):
        unpack_shard(pack_arrays(arrays, 1), 1_000_000)


def test_a_part_that_is_too_large_is_to_be_cut_into_more_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_INFLATED_BYTES_MAX", 4_096 + 300)
    with pytest.raises(DataError, match="cut the data into more shards"):
        pack_shard(some_data(30))
    monkeypatch.undo()
    monkeypatch.setattr(shards, "SHARD_BYTES_MAX", 100)
    with pytest.raises(DataError, match="bytes compressed, but it may take 100; cut the data into more shards"):
        pack_shard(some_data(30))


def made(skew: str = "even", peers: int = 4, count: int = 8) -> tuple[DataManifest, dict[str, bytes]]:
    return make_shards((some_data(100), some_data(20, seed=1)), peers, skew, 5, count)


@pytest.mark.parametrize("skew", ["even", "dirichlet:0.3", "classes:2"])
def test_the_shards_of_a_data_set_hold_every_example_once(skew: str) -> None:
    train, test = some_data(100), some_data(20, seed=1)
    manifest, files = make_shards((train, test), 4, skew, 5, 10)
    assert len(manifest.shards) == 10
    parts = [manifest.open_shard(shard, files[shard.sha256]) for shard in manifest.shards]
    found = sorted((part.inputs[i].tobytes(), int(part.labels[i])) for part in parts for i in range(len(part)))
    assert found == sorted((train.inputs[i].tobytes(), int(train.labels[i])) for i in range(100))
    held_out = manifest.open_shard(manifest.test, files[manifest.test.sha256])
    assert np.array_equal(held_out.inputs, test.inputs)
    assert np.array_equal(held_out.labels, test.labels)
    assert (held_out.name, held_out.license, held_out.scale) == ("pets", "CC0", 255.0)


def test_a_shard_of_skewed_data_holds_one_peers_classes() -> None:
    manifest, files = made("classes:2")
    for shard in manifest.shards:
        assert len(np.unique(manifest.open_shard(shard, files[shard.sha256]).labels)) <= 2


def test_the_same_cut_gives_the_same_files() -> None:
    assert made() == made()


def test_shards_are_of_about_one_size_also_where_parts_are_not() -> None:
    manifest, _ = made("dirichlet:0.3", peers=4, count=20)
    sizes = [shard.examples for shard in manifest.shards]
    assert max(sizes) <= 3 * 100 / 20
    for count in (3, 101):
        with pytest.raises(SettingsError, match=f"can be cut into 4 to 100 shards, but {count} were asked for"):
            made(count=count)
    assert [shard.examples for shard in made(count=100)[0].shards] == [1] * 100


def test_a_shard_that_is_not_the_manifests_is_refused() -> None:
    manifest, files = made()
    first, second = manifest.shards[:2]
    with pytest.raises(DataError, match=f"Shard {first.sha256[:12]} of pets arrived damaged; fetch it again"):
        manifest.open_shard(first, files[second.sha256])
    data = pack_shard(some_data(7, seed=9))
    shard = Shard(hashlib.sha256(data).hexdigest(), len(data), 6)
    with pytest.raises(DataError, match=r"holds 7 examples of \[4, 3, 1\], but the manifest says 6 of \[4, 3, 1\]"):
        manifest.open_shard(shard, data)


def test_a_shard_may_inflate_no_further_than_its_examples_need() -> None:
    manifest, _ = made()
    assert manifest.inflated_bytes_max(Shard("0" * 64, 10, 100)) == 100 * 4 * 13 + 4_096
    assert manifest.inflated_bytes_max(Shard("0" * 64, 10, 2**31 - 1)) == 256 * 1024 * 1024


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    manifest, _ = made()
    text = json.dumps(manifest.to_json())
    assert DataManifest.from_json(text) == DataManifest.from_json(text.encode()) == manifest
    assert set(manifest.to_json()["shards"][0]) == {"sha256", "bytes", "examples"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": 5}, 'The data manifest\'s "name" must be text of at most 200 characters, but it is 5.'),
        ({"name": "x" * 201}, 'The data manifest\'s "name" must be text of at most 200 characters'),
        ({"license": None}, 'The data manifest\'s "license" must be text'),
        ({"input_shape": [0]}, 'The data manifest\'s "input_shape" must be a list of one to four sizes'),
        ({"classes": 1}, 'The data manifest\'s "classes" must be a whole number from 2 to 65536, but it is 1.'),
        ({"class_names": ["a"]}, 'The data manifest\'s "class_names" must be a list of 3 names.'),
        ({"class_names": ["a", "b", 3]}, "A class name of the data manifest must be text"),
        ({"scale": 0}, 'The data manifest\'s "scale" must be a number from 1e-06 to 1e+06, but it is 0.'),
        ({"shards": []}, 'The data manifest\'s "shards" must be a list of 1 to 65536 shards.'),
        ({"shards": ["a"]}, 'Shard 0 of the data manifest must be an object, but it is "a".'),
        ({"test": {}}, 'The test shard of the data manifest needs "sha256".'),
        (
            {"test": {"sha256": "../../etc/passwd", "bytes": 1, "examples": 1}},
            'The test shard of the data manifest: "sha256" must be 64 lower-case hexadecimal digits.',
        ),
        (
            {"test": {"sha256": "a" * 64, "bytes": 10**9, "examples": 1}},
            'The test shard of the data manifest: "bytes" must be a whole number from 1 to 67108864',
        ),
        (
            {"test": {"sha256": "a" * 64, "bytes": 1, "examples": 0}},
            'The test shard of the data manifest: "examples" must be a whole number from 1 to 2147483647',
        ),
        ({"url": "http://x"}, 'The data manifest has an unknown key "url"'),
    ],
)
def test_each_mistake_of_a_manifest_has_its_sentence(changes: dict[str, Any], told: str) -> None:
    manifest, _ = made()
    with pytest.raises(DataError) as refused:
        DataManifest.from_json(manifest.to_json() | changes)
    assert str(refused.value).startswith(told)


def test_a_data_set_whose_manifest_peers_would_refuse_is_refused_at_once() -> None:
    train, test = some_data(100), some_data(20, seed=1)
    named = [Dataset(part.inputs, part.labels, 3, ("a", "b", "c" * 201), "pets") for part in (train, test)]
    with pytest.raises(DataError, match="A class name of the data manifest must be text of at most 200 characters"):
        make_shards((named[0], named[1]), 1, "even", 0, 1)


HASHES = [hashlib.sha256(bytes([index])).hexdigest() for index in range(6)]
FEW = [Shard(sha256, 1, 1) for sha256 in HASHES]


def test_known_peers_pick_known_shards() -> None:
    assert pick_shards("peer-a", FEW, 6) == [3, 4, 2, 0, 1, 5]
    assert pick_shards("peer-b", FEW, 2) == [3, 1]
    assert pick_shards("peer-b", FEW, 0) == []


@given(peer=st.text("abcXYZ019_-", min_size=1, max_size=43), count=st.integers(0, 8), gone=st.integers(0, 5))
def test_when_a_shard_goes_only_its_own_place_is_filled_anew(peer: str, count: int, gone: int) -> None:
    before = [FEW[index].sha256 for index in pick_shards(peer, FEW, count)]
    left = FEW[:gone] + FEW[gone + 1 :]
    after = [left[index].sha256 for index in pick_shards(peer, left, count)]
    assert len(before) == min(count, 6)
    assert [sha256 for sha256 in before if sha256 != HASHES[gone]] == after[: len(before) - (HASHES[gone] in before)]


def test_many_peers_spread_over_the_shards() -> None:
    picked = [pick_shards(f"peer-{index}", FEW, 1)[0] for index in range(600)]
    assert np.bincount(picked, minlength=6).min() > 60


def test_of_equal_shards_the_first_comes_first() -> None:
    assert pick_shards("peer", [FEW[0], FEW[0], FEW[0]], 3) == [0, 1, 2]


def test_a_peer_id_is_ascii() -> None:
    with pytest.raises(SettingsError, match="A peer id is ASCII"):
        pick_shards("pér", FEW, 1)
