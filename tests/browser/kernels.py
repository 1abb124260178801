"""The browser's kernels under wasmtime: their memory as numpy arrays, and a model of dense layers driven by them."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime
from numpy.typing import NDArray

from meshlearn.learning.spec import ACTIVATIONS, Dense, ModelSpec

ROOT = Path(__file__).resolve().parents[2]
PAGE_BYTES = 65_536


def build_hook() -> Any:
    """The module browser/build_hook.py."""
    spec = importlib.util.spec_from_file_location("build_hook", ROOT / "browser" / "build_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Kernels:
    """One instance of a build of the kernels."""

    def __init__(self, file: Path) -> None:
        config = wasmtime.Config()
        config.wasm_relaxed_simd = False  # a module with one relaxed operation would not compile
        engine = wasmtime.Engine(config)
        self.module = wasmtime.Module.from_file(engine, str(file))
        self._store = wasmtime.Store(engine)
        limits = wasmtime.Limits(1, None)
        self._memory = wasmtime.Memory(self._store, wasmtime.MemoryType(limits))
        self._exports = wasmtime.Instance(self._store, self.module, [self._memory]).exports(self._store)
        heap = self._exports["__heap_base"]
        assert isinstance(heap, wasmtime.Global)
        self._end = int(heap.value(self._store))

    def __getattr__(self, name: str) -> Any:
        function = self._exports[name]
        return lambda *arguments: function(self._store, *arguments)  # type: ignore[operator]

    def array(self, values: NDArray[Any]) -> int:
        """The address of a copy of ``values`` in the memory."""
        address = -(-self._end // 64) * 64
        self._end = address + values.nbytes
        missing = -(-self._end // PAGE_BYTES) - self._memory.size(self._store)
        if missing > 0:
            self._memory.grow(self._store, missing)
        self._memory.write(self._store, values.tobytes(), address)
        return address

    def read(self, address: int, shape: int | tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
        """A copy of what lies at ``address``."""
        count = int(np.prod(shape))
        content = self._memory.read(self._store, address, address + count * np.dtype(dtype).itemsize)
        return np.frombuffer(bytes(content), dtype).reshape(shape).copy()

    def write(self, address: int, values: NDArray[Any]) -> None:
        """Overwrite what lies at ``address``."""
        self._memory.write(self._store, values.tobytes(), address)


class DenseModel:
    """Flatten and dense layers, trained by the kernels in the order in which browser/src/learning calls them."""

    def __init__(self, kernels: Kernels, spec: ModelSpec, batch_size: int, initial: NDArray[np.float32]) -> None:
        self.kernels, self.rows, self.n = kernels, batch_size, len(initial)
        padding = np.zeros(16, np.float32)
        self.vector = kernels.array(np.concatenate([initial, padding]))
        self.gradient = kernels.array(np.zeros(self.n + 16, np.float32))
        self.workspace = kernels.array(np.zeros(kernels.gemm_workspace_floats(), np.float32))
        self.inputs = kernels.array(np.zeros((batch_size, int(np.prod(spec.input_shape))), np.float32))
        self.labels = kernels.array(np.zeros(batch_size, np.int32))
        self.correct = kernels.array(np.zeros(1, np.int32))
        self.layers = []
        for layer, shape, parameters in zip(spec.layers, spec.shapes, spec.layer_parameters, strict=False):
            if isinstance(layer, Dense):
                outputs = kernels.array(np.zeros((batch_size, layer.units), np.float32))
                passed_on = kernels.array(np.zeros((batch_size, shape[0]), np.float32))
                weight, bias = (4 * parameter.offset for parameter in parameters)
                code = ACTIVATIONS.index(layer.activation)
                self.layers.append((shape[0], layer.units, code, weight, bias, outputs, passed_on))
        self.logits_gradient = kernels.array(np.zeros((batch_size, spec.classes), np.float32))
        self.classes = spec.classes

    def step(self, inputs: NDArray[np.uint8], labels: NDArray[np.int32], rate: float) -> float:
        """One step of plain SGD; answers the mean loss."""
        k, rows = self.kernels, self.rows
        staged = k.array(inputs)
        k.bytes_to_floats(self.inputs, staged, inputs.size, 255.0)
        k.write(self.labels, labels)
        at = self.inputs
        for width, units, code, weight, bias, outputs, _ in self.layers:
            k.gemm(outputs, at, self.vector + weight, rows, units, width, 0, 0, 0, self.workspace)
            k.bias_activation_forward(outputs, self.vector + bias, rows, units, code)
            at = outputs
        d = self.logits_gradient
        loss = k.softmax_cross_entropy(d, at, self.labels, rows, self.classes, rows, self.correct)
        for index in reversed(range(len(self.layers))):
            width, units, code, weight, bias, outputs, passed_on = self.layers[index]
            before = self.layers[index - 1][5] if index else self.inputs
            if code:
                k.activation_backward(d, outputs, rows * units, code)
            k.gemm(self.gradient + weight, before, d, width, units, rows, 1, 0, 0, self.workspace)
            k.column_sums(self.gradient + bias, d, rows, units)
            if index:
                k.gemm(passed_on, d, self.vector + weight, rows, width, units, 0, 1, 0, self.workspace)
                d = passed_on
        k.sgd_step(self.vector, self.gradient, self.n, rate)
        return float(loss) / rows

    def parameters(self) -> NDArray[np.float32]:
        """A copy of the vector."""
        return self.kernels.read(self.vector, self.n)


def digest(vector: NDArray[np.float32]) -> str:
    """SHA-256 over the bits of a vector."""
    return hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()
