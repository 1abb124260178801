"""The shard cache: bounded, whole or absent, and never believed without its hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning.shard_cache import TEMPORARY_S_MAX, ShardCache


def shard(number: int, size: int = 100) -> tuple[str, bytes]:
    data = bytes([number]) * size
    return hashlib.sha256(data).hexdigest(), data


def test_what_was_put_is_got_also_by_the_next_process(tmp_path: Path) -> None:
    sha256, data = shard(1)
    cache = ShardCache(tmp_path / "shards", 1_000)
    assert cache.get(sha256) is None
    assert cache.put(sha256, data)
    assert cache.get(sha256) == data
    assert ShardCache(tmp_path / "shards", 1_000).get(sha256) == data


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 300)
    shards = [shard(number) for number in range(4)]
    for sha256, data in shards[:3]:
        cache.put(sha256, data)
    cache.get(shards[0][0])
    cache.put(*shards[3])
    assert [cache.get(sha256) is not None for sha256, _ in shards] == [True, False, True, True]
    assert cache.bytes_used() == 300


def test_the_bound_holds_whatever_comes(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 250)
    for number in range(20):
        assert cache.put(*shard(number, size=20 + 7 * number))
        assert cache.bytes_used() <= 250


def test_a_shard_larger_than_the_cache_is_not_kept_and_evicts_nothing(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 150)
    cache.put(*shard(1))
    assert not cache.put(*shard(2, size=151))
    assert cache.get(shard(1)[0]) is not None
    assert not ShardCache(tmp_path / "none", 0).put(*shard(1))


def test_putting_a_shard_again_evicts_nothing(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 200)
    for number in (1, 2, 1, 2):
        cache.put(*shard(number))
    assert cache.bytes_used() == 200


def test_a_damaged_file_is_deleted_and_counts_as_absent(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1_000)
    sha256, data = shard(1)
    cache.put(sha256, data)
    (tmp_path / sha256).write_bytes(data[:-1])
    assert cache.get(sha256) is None
    assert not (tmp_path / sha256).exists()


def test_data_of_another_hash_is_refused(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1_000)
    with pytest.raises(DataError, match="arrived damaged; fetch it again"):
        cache.put(shard(1)[0], shard(2)[1])
    assert cache.bytes_used() == 0


@pytest.mark.parametrize("name", ["../outside", "a" * 63, "A" * 64, "a" * 64 + "\n", ""])
def test_only_a_hash_names_a_file(tmp_path: Path, name: str) -> None:
    cache = ShardCache(tmp_path, 1_000)
    with pytest.raises(DataError, match="64 lower-case hexadecimal digits"):
        cache.get(name)
    with pytest.raises(DataError, match="64 lower-case hexadecimal digits"):
        cache.put(name, b"")


def test_what_a_dead_process_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1_000)
    left, written = tmp_path / f"{'a' * 64}.x1.part", tmp_path / f"{'b' * 64}.x2.part"
    for path in (left, written):
        path.write_bytes(b"half")
    old = left.stat().st_mtime - TEMPORARY_S_MAX - 60
    os.utime(left, (old, old))
    cache.put(*shard(1))
    assert not left.exists()
    assert written.exists()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    cache = ShardCache(tmp_path, 100)
    for number in range(3):
        cache.put(*shard(number))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"The shard cache .*file cannot be made: File exists"):
        ShardCache(tmp_path / "file", 100)
    with pytest.raises(SettingsError, match="must have room for 0 bytes or more, but it has -1"):
        ShardCache(tmp_path, -1)
