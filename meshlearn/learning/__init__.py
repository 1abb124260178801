"""Models, engines, optimisers and data: what a peer learns and from what."""

from meshlearn.learning.dataset import Dataset
from meshlearn.learning.datasets import digits, open_dataset
from meshlearn.learning.engine import Engine
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.engine_torch import TorchEngine
from meshlearn.learning.engines import make_engine
from meshlearn.learning.fetch import fetch_mnist
from meshlearn.learning.metrics import Metrics, accuracy, cross_entropy, mean_vector, relative_disagreement
from meshlearn.learning.optimisers import Optimiser, make_optimiser
from meshlearn.learning.partition import partition
from meshlearn.learning.shard_cache import ShardCache
from meshlearn.learning.shards import DataManifest, Shard, make_shards, pack_shard, pick_shards, unpack_shard
from meshlearn.learning.spec import ModelSpec, Vector, initial_vector
from meshlearn.learning.trainer import Batch, Step, Trainer

__all__ = [
    "Batch",
    "DataManifest",
    "Dataset",
    "Engine",
    "Metrics",
    "ModelSpec",
    "NumpyEngine",
    "Optimiser",
    "Shard",
    "ShardCache",
    "Step",
    "TorchEngine",
    "Trainer",
    "Vector",
    "accuracy",
    "cross_entropy",
    "digits",
    "fetch_mnist",
    "initial_vector",
    "make_engine",
    "make_optimiser",
    "make_shards",
    "mean_vector",
    "open_dataset",
    "pack_shard",
    "partition",
    "pick_shards",
    "relative_disagreement",
    "unpack_shard",
]
