"""The files of vectors follow their schema, and are what tools/make_vectors.py makes."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SCHEMA = json.loads((HERE / "schema.json").read_text())


def maker():
    spec = importlib.util.spec_from_file_location("make_vectors", ROOT / "tools" / "make_vectors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE = maker().files()


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_file_is_what_the_tool_makes(name):
    assert (HERE / name).read_text() == maker().rendered(MADE[name]), f"run tools/make_vectors.py: {name} is of another version"


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_file_follows_the_schema(name):
    content = json.loads((HERE / name).read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    names = [case["name"] for case in content["cases"]]
    assert len(names) == len(set(names)), "two cases have one name"


def test_the_vectors_stay_small():
    assert sum((HERE / name).stat().st_size for name in MADE) < 1_600_000
