"""What the vectors have in common: the form of a case, and of its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

Case = dict[str, Any]
RUN_TAG = b"vectors!"
FLT_MAX = 3.4028234663852886e38


def hex_of(values: np.ndarray) -> str:
    """Return float32 values as hex, four little-endian bytes each."""
    return np.ascontiguousarray(values, "<f4").tobytes().hex()


def case(name: str, why: str, result: str = "valid", **fields: Any) -> Case:
    """Return a case."""
    return {"name": name, "why": why, "result": result, **fields}
