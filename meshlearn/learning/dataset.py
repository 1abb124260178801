"""A labelled data set in memory, and the ways to cut it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import DataError

PIXEL_SCALE = 255.0  # bytes of an image are divided by this, so that the model reads values from 0 to 1
CLASSES_MAX = 65_536
DATA_BYTES_MAX = 2 * 1024**3  # of a data set in memory: four times the 60,000 x 32 x 32 x 3 float32 of CIFAR and more
LICENSE_UNSTATED = "unstated"


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Examples with their class ids, checked once here so that nothing later has to.

    ``inputs`` is uint8 or float32 ``[n, ...]`` (images NHWC), ``labels`` integer ``[n]`` from 0 to
    ``classes - 1``; uint8 inputs are divided by ``scale`` before a model reads them (1 leaves ids as they
    are). Raises :class:`~meshlearn.errors.DataError` where the parts do not fit each other.
    """

    inputs: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[Any]
    classes: int
    class_names: tuple[str, ...] = field(default=())
    name: str = "data"
    license: str = LICENSE_UNSTATED
    scale: float = PIXEL_SCALE

    def __post_init__(self) -> None:
        if self.inputs.dtype not in (np.uint8, np.float32) or self.inputs.ndim < 2:
            raise DataError(
                f"The inputs of {self.name} must be uint8 or float32 with one row an example, but they are "
                f"{self.inputs.dtype} of shape {list(self.inputs.shape)}."
            )
        if self.labels.dtype.kind not in "iu" or self.labels.shape != self.inputs.shape[:1]:
            raise DataError(
                f"{self.name} has {len(self.inputs)} inputs, so its labels must be as many whole numbers, "
                f"but they are {self.labels.dtype} of shape {list(self.labels.shape)}."
            )
        if not len(self.labels):
            raise DataError(f"{self.name} has no examples.")
        if not 2 <= self.classes <= CLASSES_MAX:
            raise DataError(f"{self.name} has {self.classes} classes, but 2 to {CLASSES_MAX} can be told apart.")
        if int(self.labels.min()) < 0 or int(self.labels.max()) >= self.classes:
            raise DataError(
                f"The labels of {self.name} must be from 0 to {self.classes - 1}, but they run from "
                f"{self.labels.min()} to {self.labels.max()}."
            )
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(str(label) for label in range(self.classes)))
        if len(self.class_names) != self.classes:
            raise DataError(f"{self.name} has {self.classes} classes, but {len(self.class_names)} class names.")
        if self.inputs.dtype == np.float32 and not np.isfinite(self.inputs).all():
            raise DataError(f"The inputs of {self.name} contain values that are not finite; remove or replace them.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.inputs.shape[1:]

    def subset(self, indices: NDArray[np.int64]) -> Dataset:
        """The examples at ``indices``, copied, in that order."""
        return replace(self, inputs=self.inputs[indices], labels=self.labels[indices])


def hold_out(dataset: Dataset, test_share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Cut ``dataset`` into (train, test); the same seed cuts the same way.

    The test part takes ``test_share`` of each class, rounded, at least one where the class has two or more
    examples.
    """
    if not 0 < test_share < 1:
        raise DataError(f"The share held out for the test must be between 0 and 1, but it is {test_share:g}.")
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = []
    for label in np.unique(dataset.labels):
        members = generator.permutation(np.flatnonzero(dataset.labels == label))
        count = min(max(1, round(len(members) * test_share)), len(members) - 1)
        chosen.append(members[:count])
    test = np.sort(np.concatenate(chosen))
    if not len(test):
        raise DataError(f"{dataset.name} has one example a class, which leaves none to hold out for the test.")
    return dataset.subset(np.setdiff1d(np.arange(len(dataset)), test)), dataset.subset(test)
