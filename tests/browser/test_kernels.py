"""The browser's kernels: the same bits in every WebAssembly engine and build, and the numbers of numpy."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.spec import ModelSpec, initial_vector
from tests.browser.kernels import ROOT, DenseModel, Kernels, build_hook, digest

BUILDS = ("kernels.wasm", "kernels-scalar.wasm")
SHARED_BUILD = "kernels-shared.wasm"  # needs a shared memory, which wasmtime's Python package does not give
STEPS, BATCH_SIZE, LEARNING_RATE = 20, 13, 0.25


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kernels")
    build_hook().build_kernels(directory)
    return directory


@pytest.fixture(params=BUILDS)
def kernels(built: Path, request: pytest.FixtureRequest) -> Kernels:
    return Kernels(built / request.param)


@pytest.mark.parametrize("build", BUILDS)
def test_a_module_needs_nothing_but_its_memory(built: Path, build: str) -> None:
    module = Kernels(built / build).module
    assert [(needed.module, needed.name) for needed in module.imports] == [("env", "memory")]
    assert (built / build).stat().st_size < 64 * 1024


def test_building_twice_gives_the_same_files(built: Path, tmp_path: Path) -> None:
    build_hook().build_kernels(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*BUILDS, SHARED_BUILD])
    for build in (*BUILDS, SHARED_BUILD):
        assert (tmp_path / build).read_bytes() == (built / build).read_bytes()


def test_twenty_steps_give_the_same_bits_everywhere_and_the_numbers_of_numpy(built: Path) -> None:
    layers: list[dict[str, Any]] = [{"layer": "Flatten"}]
    layers += [{"layer": "Dense", "units": 37, "activation": name} for name in ("relu", "tanh", "sigmoid")]
    spec = ModelSpec.from_json({"format": 1, "input": [19, 19, 1], "layers": [*layers, {"layer": "Dense", "units": 10}]})
    generator = np.random.Generator(np.random.PCG64(6))
    inputs = generator.integers(0, 256, (STEPS * BATCH_SIZE, 19, 19, 1)).astype(np.uint8)
    labels = generator.integers(0, 10, STEPS * BATCH_SIZE).astype(np.int32)
    initial = initial_vector(spec, 6)

    digests = {}
    for build in BUILDS:
        model = DenseModel(Kernels(built / build), spec, BATCH_SIZE, initial)
        for start in range(0, len(labels), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            model.step(inputs[part], labels[part], LEARNING_RATE)
        digests[f"wasmtime, {build}"] = digest(model.parameters())
        task = {
            "spec": spec.to_json(),
            "wasm": str(built / build),
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "initial": base64.b64encode(initial.tobytes()).decode(),
            "inputs": base64.b64encode(inputs.tobytes()).decode(),
            "labels": labels.tolist(),
        }
        digests[f"Node, {build}"] = in_node(task)
    digests["Node, shared memory"] = in_node({**task, "wasm": str(built / SHARED_BUILD), "shared": True})
    assert len(set(digests.values())) == 1, digests

    engine = NumpyEngine(spec, BATCH_SIZE)
    vector, gradient = initial.copy(), np.empty_like(initial)
    for start in range(0, len(labels), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        engine.loss_and_gradient(vector, inputs[part], labels[part], gradient)
        vector -= np.float32(LEARNING_RATE) * gradient
    assert not np.array_equal(vector, initial)
    assert np.linalg.norm(model.parameters() - vector) < 1e-6 * np.linalg.norm(vector)


def in_node(task: dict[str, Any]) -> str:
    node = build_hook().Node.find()
    command = [str(node.node), str(ROOT / "tests" / "browser" / "train_in_node.ts")]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, timeout=120, env=node.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Inner dimensions around a block (256) and a tile (4), rows and columns with every remainder.
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(1, 1, 1), (4, 8, 4), (5, 9, 3), (3, 10, 257), (6, 7, 256), (7, 12, 300), (131, 13, 5), (260, 17, 18), (2, 11, 600)],
)
@pytest.mark.parametrize("a_transposed", [0, 1])
@pytest.mark.parametrize("b_transposed", [0, 1])
def test_matrix_products_of_every_shape(kernels: Kernels, m: int, n: int, k: int, a_transposed: int, b_transposed: int) -> None:
    generator = np.random.Generator(np.random.PCG64(m * n * k))
    a = generator.normal(size=(k, m) if a_transposed else (m, k)).astype(np.float32)
    b = generator.normal(size=(n, k) if b_transposed else (k, n)).astype(np.float32)
    at, bt = kernels.array(a), kernels.array(b)
    surrounded = np.full(m * n + 8, 7, np.float32)
    c = kernels.array(surrounded) + 16
    workspace = kernels.array(np.full(kernels.gemm_workspace_floats(), np.nan, np.float32))
    left, right = (a.T if a_transposed else a).astype(np.float64), (b.T if b_transposed else b).astype(np.float64)
    product = left @ right
    allowed = 2e-7 * np.sqrt(k) * (np.abs(left) @ np.abs(right))

    kernels.gemm(c, at, bt, m, n, k, a_transposed, b_transposed, 0, workspace)
    assert (np.abs(kernels.read(c, (m, n)) - product) <= allowed).all()
    kernels.gemm(c, at, bt, m, n, k, a_transposed, b_transposed, 1, workspace)
    assert (np.abs(kernels.read(c, (m, n)) - 2 * product) <= 3 * allowed).all()
    around = kernels.read(c - 16, m * n + 8)
    assert (around[[0, 1, 2, 3, -4, -3, -2, -1]] == 7).all()


def ulps(actual: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    spacing = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(actual.astype(np.float64) - exact) / spacing))


def test_activations_are_accurate_to_a_few_units_in_the_last_place(kernels: Kernels) -> None:
    bits = np.arange(0x30000000, 0x42B00000, 1009, dtype=np.uint32)  # 4.7e-10 to 88, evenly in the exponent
    x = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    exact = x.astype(np.float64)
    at = kernels.array(x)
    to = kernels.array(np.zeros_like(x))
    kernels.activation_forward(to, at, x.size, 2)
    assert ulps(kernels.read(to, x.size), np.tanh(exact)) < 2
    kernels.activation_forward(to, at, x.size, 3)
    normal = exact > -87  # below, 1 / (1 + e^-x) is subnormal
    assert ulps(kernels.read(to, x.size)[normal], 1 / (1 + np.exp(-exact[normal]))) < 4


def test_activations_at_the_edges(kernels: Kernels) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40], np.float32)
    at, to = kernels.array(x), kernels.array(np.zeros_like(x))
    expected = {
        1: [0, 0, np.inf, 0, np.nan, 1e30, 0, 1e-40],
        2: [0, 0, 1, -1, np.nan, 1, -1, 1e-40],
        3: [0.5, 0.5, 1, 0, np.nan, 1, 0, 0.5],
    }
    for code, values in expected.items():
        kernels.activation_forward(to, at, x.size, code)
        np.testing.assert_array_equal(kernels.read(to, x.size), np.array(values, np.float32))


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 10, 17])
def test_softmax_and_its_loss(kernels: Kernels, classes: int) -> None:
    generator = np.random.Generator(np.random.PCG64(classes))
    logits = (generator.normal(size=(9, classes)) * 30).astype(np.float32)
    logits[0] = 5  # all equal: the first counts as the guess
    logits[1, 0] = 3e38  # the others vanish
    labels = generator.integers(0, classes, 9).astype(np.int32)
    labels[:2] = 0
    at, label_at, correct = kernels.array(logits), kernels.array(labels), kernels.array(np.zeros(1, np.int32))
    to = kernels.array(np.zeros_like(logits))
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)  # the one rounding that is allowed
    sums = np.exp(shifted).sum(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / sums

    kernels.softmax(to, at, 9, classes)
    np.testing.assert_allclose(kernels.read(to, (9, classes)), probabilities, rtol=2e-6, atol=1e-37)
    loss = kernels.softmax_cross_entropy(to, at, label_at, 9, classes, 9, correct)
    one_hot = np.eye(classes)[labels]
    np.testing.assert_allclose(loss, (np.log(sums) - shifted)[np.arange(9), labels].sum(), rtol=1e-6)
    np.testing.assert_allclose(kernels.read(to, (9, classes)), (probabilities - one_hot) / 9, rtol=2e-6, atol=1e-8)
    assert kernels.read(correct, 1, np.int32)[0] == (logits.argmax(axis=1) == labels).sum()


def test_a_label_that_is_no_class_traps(kernels: Kernels) -> None:
    at, to = kernels.array(np.zeros((1, 3), np.float32)), kernels.array(np.zeros((1, 3), np.float32))
    correct = kernels.array(np.zeros(1, np.int32))
    for label in (-1, 3, 2**31 - 1):
        labels = kernels.array(np.array([label], np.int32))
        with pytest.raises(Exception, match="unreachable"):
            kernels.softmax_cross_entropy(to, at, labels, 1, 3, 1, correct)


def test_bytes_become_floats_as_in_numpy(kernels: Kernels) -> None:
    pixels = np.arange(256, dtype=np.uint8)[:255]
    at, to = kernels.array(pixels), kernels.array(np.zeros(256, np.float32))
    kernels.bytes_to_floats(to, at, 255, 255.0)
    np.testing.assert_array_equal(kernels.read(to, 256), np.append(pixels.astype(np.float32) / np.float32(255), 0))
