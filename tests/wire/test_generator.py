"""The generator of every random choice: known words, ranges, independence."""

from collections import Counter

import numpy as np
import pytest

from meshlearn.wire.generator import Generator, mix32

from .vectors import cases


def test_the_first_words_of_seed_zero_are_those_of_the_specification():
    generator = Generator(0)
    assert [generator.uint32() for _ in range(3)] == [0x8A10DB0B, 0x0957422A, 0x1136A03B]


@pytest.mark.parametrize("case", cases("generator.json"), ids=lambda case: case["name"])
def test_the_vectors(case):
    for word, mixed in case.get("mix32", []):
        assert mix32(word) == mixed
    generator = Generator(int(case.get("seed", "0"), 16))
    for draw in case.get("draws", []):
        if draw["call"] == "shuffle":
            items = list(range(draw["argument"]))
            generator.shuffle(items)
            assert items == draw["gives"]
        else:
            argument = [draw["argument"]] if "argument" in draw else []
            assert getattr(generator, draw["call"])(*argument) == draw["gives"]


def test_it_is_xoshiro128_starstar():
    """The recurrence, written anew from Blackman & Vigna's description with numpy's wrapping words."""
    a, b, c, d = (np.uint32(word) for word in Generator(99).state())
    generator = Generator(99)
    with np.errstate(over="ignore"):
        for _ in range(200):
            five = b * np.uint32(5)
            word = (five << np.uint32(7) | five >> np.uint32(25)) * np.uint32(9)
            shifted = b << np.uint32(9)
            c, d = c ^ a, d ^ b
            b, a = b ^ c, a ^ d
            c = c ^ shifted
            d = d << np.uint32(11) | d >> np.uint32(21)
            assert generator.uint32() == int(word)


def test_mix32_is_a_bijection_on_a_sample_and_keeps_32_bits():
    mixed = [mix32(word) for word in range(20_000)]
    assert len(set(mixed)) == len(mixed)
    assert max(mixed) < 2**32
    assert mix32(2**32 + 5) == mix32(5)


def test_words_are_spread_evenly():
    generator = Generator(7)
    counts = Counter(generator.below(16) for _ in range(32_000))
    # 2,000 each with a standard deviation of 43: six of them.
    assert set(counts) == set(range(16))
    assert all(abs(count - 2_000) < 260 for count in counts.values())


@pytest.mark.parametrize("bound", [1, 2, 3, 1000, 1 << 21])
def test_below_stays_below(bound):
    generator = Generator(bound)
    drawn = [generator.below(bound) for _ in range(2_000)]
    assert min(drawn) >= 0
    assert max(drawn) < bound


def test_durations_are_between_half_and_one_and_a_half_of_their_mean():
    generator = Generator(3)
    drawn = [generator.jittered(2.0) for _ in range(2_000)]
    assert min(drawn) >= 1.0
    assert max(drawn) < 3.0
    assert abs(sum(drawn) / len(drawn) - 2.0) < 0.08


def test_a_shuffle_brings_every_item_everywhere():
    generator = Generator(1)
    seen = Counter()
    for _ in range(600):
        items = [0, 1, 2]
        generator.shuffle(items)
        seen[tuple(items)] += 1
    assert len(seen) == 6
    assert min(seen.values()) > 60


def test_seeds_and_forks_are_apart_and_a_state_goes_on():
    streams = {tuple(Generator(seed).uint32() for _ in range(4)) for seed in [*range(100), 1 << 32, 1 << 63]}
    assert len(streams) == 102
    parent = Generator(5)
    child = parent.fork()
    assert [child.uint32() for _ in range(4)] != [parent.uint32() for _ in range(4)]
    low_high = Generator(5)
    seed = low_high.uint32() | low_high.uint32() << 32
    assert Generator(5).fork().state() == Generator(seed).state()
    copy = Generator.restore(parent.state())
    assert [copy.uint32() for _ in range(4)] == [parent.uint32() for _ in range(4)]
