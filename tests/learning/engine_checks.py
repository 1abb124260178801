"""What every engine must do, whichever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from meshlearn.learning.engines import make_engine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import ModelSpec
from tests.learning.models import VECTORS


def check_vector_case(case: dict[str, Any], engine_name: str) -> None:
    """Train as the case says and hold every number against the float64 reference's."""
    tolerance = VECTORS["tolerance"]
    spec = ModelSpec.from_json(case["spec"])
    inputs = np.array(case["inputs"]["values"], case["inputs"]["dtype"]).reshape(-1, *spec.input_shape)
    labels = np.array(case["labels"])
    vector = np.array(case["initial"], np.float32)
    gradient, change = np.empty_like(vector), np.empty_like(vector)
    engine = make_engine(engine_name, spec, max(map(len, case["batches"])), VECTORS["scale"])
    optimiser = make_optimiser(case["optimiser"], len(vector))

    def close(found: np.ndarray, expected: list[float]) -> None:
        apart = np.linalg.norm(found.astype(np.float64) - np.array(expected).reshape(found.shape))
        assert apart <= tolerance * np.linalg.norm(expected)

    for step, batch in enumerate(case["batches"]):
        loss, correct = engine.loss_and_gradient(vector, inputs[batch], labels[batch], gradient)
        assert loss == pytest.approx(case["losses"][step], rel=tolerance, abs=tolerance)
        assert correct == case["correct"][step]
        if step == 0:
            close(gradient, case["first_gradient"])
        optimiser.change(gradient, change)
        vector += change
    close(vector, case["final"])
    close(engine.predict(vector, inputs), case["probabilities"])
