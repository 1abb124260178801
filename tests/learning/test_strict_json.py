"""JSON from strangers: what Python's parser lets pass is refused with a sentence."""

from __future__ import annotations

import pytest

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning import strict_json


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("", "not valid JSON"),
        (b"\xff\xfe\xff", "not valid JSON"),
        ("[1, 2]", "must be a JSON object"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number of JSON"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "not valid JSON"),
        (" " * (strict_json.JSON_BYTES_MAX + 1), "larger than"),
    ],
)
def test_unsound_documents_are_refused_in_one_sentence(document: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as refused:
        strict_json.read_object(document, "The note", DataError)
    assert str(refused.value).startswith("The note")
    assert str(refused.value).endswith(".")


def test_a_parsed_object_and_its_text_are_read_alike() -> None:
    assert strict_json.read_object({"a": 1}, "It", DataError) == strict_json.read_object(b'{"a": 1}', "It", DataError)


def test_the_first_unknown_key_is_named_and_so_is_a_missing_one() -> None:
    with pytest.raises(SettingsError, match=r'The note has an unknown key "c"; it may have a, b\.'):
        strict_json.only_keys({"a": 1, "c": 2, "d": 3}, ("a", "b"), ("a",), "The note", SettingsError)
    with pytest.raises(SettingsError, match=r'The note needs "b"\.'):
        strict_json.only_keys({"a": 1}, ("a", "b"), ("a", "b"), "The note", SettingsError)


def test_a_fraction_of_zero_makes_no_other_number() -> None:
    read = strict_json.read_object('{"a": 64.0, "b": 6.4e1, "c": 64.5, "d": -0.0, "e": 1e300}', "the document", DataError)
    assert [(type(value), value) for value in read.values()] == [(int, 64), (int, 64), (float, 64.5), (int, 0), (float, 1e300)]


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 0, 11, [1]])
def test_only_a_whole_number_within_its_bounds_is_one(value: object) -> None:
    assert strict_json.whole(10, 1, 10, "n", DataError) == 10
    with pytest.raises(DataError, match="n must be a whole number from 1 to 10, but it is"):
        strict_json.whole(value, 1, 10, "n", DataError)


@pytest.mark.parametrize("value", [True, "1", None, 1.5, float("nan"), float("inf")])
def test_only_a_finite_number_within_its_bounds_is_one(value: object) -> None:
    assert strict_json.number(1, 0, 1, "n", DataError) == 1.0
    with pytest.raises(DataError, match="n must be a number from 0 to 1, but it is"):
        strict_json.number(value, 0, 1, "n", DataError)


@pytest.mark.parametrize("value", [[], [0], [1] * 5, [70_000], [65_536, 65_536], [1.0], [True], "28", None, 28])
def test_only_a_list_of_sizes_is_a_shape(value: object) -> None:
    assert strict_json.shape([28, 28, 1], "It", DataError) == (28, 28, 1)
    with pytest.raises(DataError, match="It must be a list of one to four sizes"):
        strict_json.shape(value, "It", DataError)


def test_a_long_value_is_cut_in_the_sentence() -> None:
    assert len(strict_json.shown("x" * 10_000)) == strict_json.SHOWN_CHARACTERS_MAX
    assert strict_json.shown({1, 2}) == "set"
