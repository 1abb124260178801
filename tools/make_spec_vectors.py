"""Write tests/vectors/model_specs.json: model specifications, sound and not, with what every reader says of them.

Sound ones come with their parameters and shapes, the others with the sentence of the error, so that a person reads the
same words in the terminal and in the browser. Run it from the root of the project: ``python tools/make_spec_vectors.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshlearn.errors import SettingsError
from meshlearn.learning.spec import ModelSpec

TARGET = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "model_specs.json"

MNIST = {
    "format": 1,
    "input": [28, 28, 1],
    "layers": [
        {"layer": "Flatten"},
        {"layer": "Dense", "units": 64, "activation": "relu"},
        {"layer": "Dense", "units": 10},
    ],
    "loss": "softmax_cross_entropy",
}
HEAD = {"layer": "Dense", "units": 2}


def flat(*layers: Any, **changes: Any) -> dict[str, Any]:
    """A specification of four inputs with these layers."""
    return {"format": 1, "input": [4], "layers": list(layers), **changes}


CASES: list[tuple[str, Any]] = [
    ("the model of the demo", MNIST),
    ("the loss may be left out", {key: value for key, value in MNIST.items() if key != "loss"}),
    ("an activation that is said to be linear is the default", flat({**HEAD, "activation": "linear"})),
    ("activations as layers", flat({"layer": "Activation", "activation": "tanh"}, HEAD)),
    ("four axes", {**MNIST, "input": [2, 3, 4, 5]}),
    ("an empty object", {}),
    ("no input", {"format": 1, "layers": [HEAD]}),
    ("an unknown key", flat(HEAD, name="mine")),
    ("a format of the future", flat(HEAD, format=2)),
    ("a format that is a boolean", flat(HEAD, format=True)),
    ("a format that is text", flat(HEAD, format="1")),
    ("layers that are no list", {"format": 1, "input": [4], "layers": {"layer": "Dense"}}),
    ("no layers", flat()),
    ("too many layers", flat(*[HEAD] * 257)),
    ("a layer that is text", flat("Dense")),
    ("a layer without a name", flat({"units": 2})),
    ("a layer that is null", flat(None)),
    ("an unknown layer", flat({"layer": "Dropout", "rate": 0.5}, HEAD)),
    ("a name in small letters", flat({"layer": "dense", "units": 2})),
    ("a name that every object has", flat({"layer": "constructor"})),
    ("an unknown key of a layer", flat({**HEAD, "use_bias": False})),
    ("units left out", flat({"layer": "Dense"})),
    ("units of 0", flat({"layer": "Dense", "units": 0})),
    ("units beyond the limit", flat({"layer": "Dense", "units": 65537})),
    ("units as text", flat({"layer": "Dense", "units": "64"})),
    ("units as a boolean", flat({"layer": "Dense", "units": True})),
    ("half a unit", flat({"layer": "Dense", "units": 2.5})),
    ("an unknown activation", flat({**HEAD, "activation": "gelu"})),
    ("softmax, which belongs to the loss", flat({**HEAD, "activation": "softmax"})),
    ("an activation that is null", flat({**HEAD, "activation": None})),
    ("an activation layer without an activation", flat({"layer": "Activation"}, HEAD)),
    ("a key that Flatten does not have", flat({"layer": "Flatten", "units": 1}, HEAD)),
    ("dense after images", {"format": 1, "input": [28, 28, 1], "layers": [HEAD]}),
    ("one class", flat({"layer": "Dense", "units": 1})),
    ("an output with axes", {"format": 1, "input": [2, 2], "layers": [{"layer": "Activation", "activation": "relu"}]}),
    ("nothing to train", flat({"layer": "Flatten"})),
    ("too many parameters", flat({"layer": "Dense", "units": 65536}, {"layer": "Dense", "units": 65536}, HEAD)),
    ("an unknown loss", flat(HEAD, loss="mse")),
    ("an input without axes", {**MNIST, "input": []}),
    ("an input with five axes", {**MNIST, "input": [1, 1, 1, 1, 1]}),
    ("an input with an empty axis", {**MNIST, "input": [28, 0]}),
    ("an input that is a number", {**MNIST, "input": 784}),
    ("an input too large", {**MNIST, "input": [65536, 65536]}),
    ("a long value in the sentence is cut", flat(HEAD, loss="softmax_cross_entropy_" * 10)),
    ("text beyond ASCII in the sentence", flat({"layer": "Dichte \u2248 \U0001f980"})),
    ("a repeated key", '{"format": 1, "input": [4], "input": [4], "layers": [{"layer": "Dense", "units": 2}]}'),
    ("an escaped key repeats a plain one", '{"format": 1, "input": [4], "inp\\u0075t": [4], "layers": []}'),
    ("a number beyond float64", '{"format": 1e999, "input": [4], "layers": []}'),
    ("a value of NaN", '{"format": NaN, "input": [4], "layers": []}'),
    (
        "whole numbers with a fraction of zero or an exponent",
        '{"format": 1.0, "input": [4.0], "layers": [{"layer": "Dense", "units": 2e0}]}',
    ),
    ("such a number beyond the limit", '{"format": 1, "input": [4], "layers": [{"layer": "Dense", "units": 65537.0}]}'),
    ("half a unit in text", '{"format": 1, "input": [4], "layers": [{"layer": "Dense", "units": 2.50}]}'),
    ("an axis of minus zero", '{"format": 1, "input": [-0.0], "layers": [{"layer": "Dense", "units": 2}]}'),
    ("text that is no JSON", "Flatten, Dense"),
    ("a list", "[]"),
    ("a number", "1"),
]  # fmt: skip

# Where the sentence quotes the JSON parser of the language, only its beginning is common.
PARSER_SENTENCE = "The model specification is not valid JSON: "


def described(why: str, document: Any) -> dict[str, Any]:
    """The case with the verdict of meshlearn.learning.spec."""
    entry = {"why": why, "document": document}
    try:
        spec = ModelSpec.from_json(document)
    except SettingsError as problem:
        sentence = str(problem)
        own = "key occurs twice" in sentence or "is too large" in sentence
        if sentence.startswith(PARSER_SENTENCE) and not own:
            return {**entry, "verdict": "invalid", "sentence_begins": PARSER_SENTENCE}
        return {**entry, "verdict": "invalid", "sentence": sentence}
    parameters = [{"name": p.name, "shape": list(p.shape), "offset": p.offset} for p in spec.parameters]
    facts = {
        "json": spec.to_json(),
        "parameter_count": spec.parameter_count,
        "classes": spec.classes,
        "shapes": [list(shape) for shape in spec.shapes],
        "parameters": parameters,
    }
    return {**entry, "verdict": "valid", "spec": facts}


def main() -> None:
    """Write the file."""
    cases = [described(why, document) for why, document in CASES]
    document = {
        "format": 1,
        "about": "Model specifications with the verdict of every reader (tools/make_spec_vectors.py). A 'document' that is "
        "text is JSON as it came; 'sentence' is the message of the SettingsError.",
        "cases": cases,
    }
    lines = json.dumps(document).replace('{"why"', '\n{"why"')  # one line a case
    TARGET.write_text(lines + "\n", encoding="utf-8")
    valid = sum(case["verdict"] == "valid" for case in cases)
    print(f"{TARGET.name}: {valid} valid, {len(cases) - valid} invalid")


if __name__ == "__main__":
    main()
