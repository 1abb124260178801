"""meshlearn: a peer-to-peer training mesh.

The public names of the package, each loaded when it is first used: importing meshlearn alone costs nothing.

::

    session = await meshlearn.open_session("http://192.168.1.5:8765/r/k3v7x2abcd#...")
    async with session:
        print(await session.node.wait())

    closure = meshlearn.Closure.load(pathlib.Path("run.closure.zip"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meshlearn.closure import Closure
    from meshlearn.errors import DataError, MeshError, MeshlearnError, SettingsError, UserError
    from meshlearn.learning.dataset import Dataset
    from meshlearn.learning.datasets import open_dataset
    from meshlearn.learning.engines import make_engine
    from meshlearn.learning.spec import ModelSpec, initial_vector
    from meshlearn.protocol.averaging import AveragingRule, Contribution
    from meshlearn.runtime.checkpoint import Evaluation
    from meshlearn.runtime.join import JoinOptions, Session, open_session
    from meshlearn.runtime.node import Node
    from meshlearn.runtime.run import Run, RunSettings
    from meshlearn.wire.messages import PeerKind

__all__ = [
    "AveragingRule",
    "Closure",
    "Contribution",
    "DataError",
    "Dataset",
    "Evaluation",
    "JoinOptions",
    "MeshError",
    "MeshlearnError",
    "ModelSpec",
    "Node",
    "PeerKind",
    "Run",
    "RunSettings",
    "Session",
    "SettingsError",
    "UserError",
    "__version__",
    "initial_vector",
    "make_engine",
    "open_dataset",
    "open_session",
]

_HOME: Final = {
    "AveragingRule": "protocol.averaging",
    "Closure": "closure",
    "Contribution": "protocol.averaging",
    "DataError": "errors",
    "Dataset": "learning.dataset",
    "Evaluation": "runtime.checkpoint",
    "JoinOptions": "runtime.join",
    "MeshError": "errors",
    "MeshlearnError": "errors",
    "ModelSpec": "learning.spec",
    "Node": "runtime.node",
    "PeerKind": "wire.messages",
    "Run": "runtime.run",
    "RunSettings": "runtime.run",
    "Session": "runtime.join",
    "SettingsError": "errors",
    "UserError": "errors",
    "initial_vector": "learning.spec",
    "make_engine": "learning.engines",
    "open_dataset": "learning.datasets",
    "open_session": "runtime.join",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("meshlearn")
    if name not in _HOME:
        raise AttributeError(f"module 'meshlearn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"meshlearn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
