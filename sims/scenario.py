# ruff: noqa: RUF009 - the functions of sims.schema are dataclasses.field by other names
"""A scenario: a simulated world as one TOML file. The files in `sims/scenarios` are its documentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from meshlearn.errors import SettingsError
from meshlearn.wire import limits
from sims import schema
from sims.laws import Constant, Law

DEFAULTS = ("office-lan", "home-volunteers", "browser-tabs", "mobile-flash-crowd", "extreme")
METHODS = (
    "mesh",
    "one-machine",
    "isolated",
    "parameter-server",
    "task-queue",
    "all-reduce",
    "federated-averaging",
    "d-psgd-ring",
    "d-psgd-regular",
    "ad-psgd",
    "choco-sgd",
    "partitioned-gossip",
    "partitioned-gossip-tokens",
    "epidemic",
    "noloco",
    "naive-8-bit",
)
ATTACKS = ("nan", "scale", "flip-signs", "noise", "flip-labels", "replay")


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and with which settings of the protocol."""

    method: str = schema.choice("mesh", *METHODS)
    model: Any = schema.anything(
        "softmax", '"softmax", "mlp-64", "mlp-128-128", "consensus", or a table with a model specification', (str, dict)
    )
    seed: int = schema.whole(-1, -1, 2**53)
    """Gives the initial vector and the division of the data, as `meshlearn new --seed` does; -1: drawn from the world's seed."""
    data: str = schema.text("digits-8x8", '"digits-8x8", "digits", "blobs", or the path of a data set')
    examples_per_peer: int = schema.whole(0, 0, 1_000_000, "examples, drawn with replacement (0: the data is divided)")
    skew: str = schema.text("even", '"even", "dirichlet:0.5" or "classes:2"')
    batch_size: int = schema.whole(32, 1, 65_536, "examples")
    optimiser: Any = schema.anything(
        {"name": "sgd", "learning_rate": 0.1}, 'a table such as { name = "sgd", learning_rate = 0.1 }', (dict,)
    )
    parameters: int = schema.whole(64, 1, 10_000_000, "values of a consensus run's vectors")
    rule: str = schema.choice("drift-corrected", "pairwise", "drift-corrected", "none")
    drift_gain: float = schema.number(0.02, 0.0, 0.05)
    codec: str = schema.choice("modular8", "modular8", "modular4", "linear8", "dynamic8", "float16", "float32")
    pull_codec: str = schema.choice("linear8", "linear8", "dynamic8", "float16", "float32")
    slices: int = schema.whole(4, 1, 65_535, "slices")
    slice_length: int = schema.whole(0, 0, limits.SLICE_VALUES_MAX, "values (0: what gives so many equal slices)")
    exchange_interval_s: float = schema.number(1.0, 1e-6, 1e6, "seconds")
    view_size: int = schema.whole(8, 1, 64, "links")
    token_capacity: int = schema.whole(10, 1, 10_000, "tokens")
    token_grant: float = schema.number(0.1, 0.0, 1.0)
    heartbeat_interval_s: float = schema.number(2.0, 0.001, 1e6, "seconds")
    link_timeout_s: float = schema.number(8.0, 0.002, 1e7, "seconds")
    exchange_timeout_s: float = schema.number(4.0, 0.001, 1e6, "seconds")
    exchange_resends: int = schema.whole(2, 0, 100, "repeats")
    connect_timeout_s: float = schema.number(20.0, 0.001, 1e6, "seconds")
    join_timeout_s: float = schema.number(15.0, 0.0, 1e6, "seconds")
    pull_timeout_s: float = schema.number(6.0, 0.001, 1e6, "seconds")
    introduce_interval_s: float = schema.number(5.0, 0.001, 1e6, "seconds")
    clip_factor: float = schema.number(4.0, 0.01, 1e9)
    norm_factor: float = schema.number(2.0, 0.01, 1e9)
    answer_timeout_s: float = schema.number(15.0, 0.001, 1e6, "seconds after which a method of the literature gives an answer up")
    local_steps: int = schema.whole(10, 1, 100_000, "steps between two messages of a method that counts steps")
    degree: int = schema.whole(3, 1, 1_000, "links a peer of a method with a fixed graph")
    graph: str = schema.choice("regular", "regular", "ring")
    choco_gamma: float = schema.number(0.3, 0.0, 1.0)


@dataclass(frozen=True)
class PeerClass:
    """A kind of peers: how fast they are, how they are connected, how long they stay."""

    name: str = schema.text("peer")
    share: float = schema.number(1.0, 0.0, 1.0)
    steps_per_s: Law = schema.law(Constant(10.0))
    up_mbps: float = schema.number(0.0, 0.0, 1e9, "Mbit/s (0: unlimited)")
    down_mbps: float = schema.number(0.0, 0.0, 1e9, "Mbit/s (0: unlimited)")
    read_mbps: float = schema.number(0.0, 0.0, 1e9, "Mbit/s that the peer reads from one link (0: as it comes)")
    session_s: Law | None = schema.law(None)
    absence_s: Law | None = schema.law(None)
    absence: str = schema.choice("leave", "leave", "restart", "sleep")
    polite: float = schema.number(0.8, 0.0, 1.0)
    online_at_start: float = schema.number(1.0, 0.0, 1.0)
    nat: str = schema.choice("behind", "open", "behind", "relayed", "unreachable")
    region: str = schema.text("")
    clock_skew: float = schema.number(0.0, 0.0, 0.5, "the relative error of the clock's rate, either way")
    clock_offset_s: float = schema.number(0.0, 0.0, 1e9, "seconds, either way")


@dataclass(frozen=True)
class Arrivals:
    """When peers come for the first time."""

    pattern: str = schema.choice("start", "start", "gaps", "flash")
    within_s: float = schema.number(0.0, 0.0, 1e9, "seconds")
    share: float = schema.number(1.0, 0.0, 1.0)
    gap_shape: float = schema.number(1.0, 0.05, 100.0)
    diurnal: float = schema.number(0.0, 0.0, 0.99)
    period_s: float = schema.number(86_400.0, 1.0, 1e9, "seconds")


@dataclass(frozen=True)
class Latency:
    """How long a message is on its way."""

    round_trip_ms: Law = schema.law(Constant(20.0))
    per: str = schema.choice("pair", "pair", "message")
    jitter: float = schema.number(0.0, 0.0, 100.0)
    regions: Any = schema.anything((), 'a list of names such as ["eu", "us"]', (list, tuple))
    matrix_ms: Any = schema.anything((), "a list of rows of numbers, one row a region", (list, tuple))
    file: str = schema.text("", "the path of a matrix of round trips in ms")
    connect_round_trips: float = schema.number(4.0, 0.0, 1_000.0)
    introduction_s: float = schema.number(0.1, 0.0, 1e4, "seconds")


@dataclass(frozen=True)
class Faults:
    """What the network does to messages."""

    loss: float = schema.number(0.0, 0.0, 0.99)
    mode: str = schema.choice("retransmit", "retransmit", "drop")
    duplication: float = schema.number(0.0, 0.0, 0.99)
    reordering: float = schema.number(0.0, 0.0, 0.99)
    reordering_ms: float = schema.number(200.0, 0.0, 1e7, "ms")
    relay: float = schema.number(0.0, 0.0, 1.0)
    relay_factor: float = schema.number(1.5, 1.0, 100.0)
    unreachable: float = schema.number(0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Partition:
    """A cut of the network in two (or more) parts, and its end."""

    at_s: float = schema.number(0.0, 0.0, 1e9, "seconds")
    heal_s: float = schema.number(1e9, 0.0, 1e9, "seconds")
    share: float = schema.number(0.5, 0.0, 1.0)

    def __post_init__(self) -> None:
        if self.heal_s <= self.at_s:
            raise SettingsError("heal_s comes after at_s")


@dataclass(frozen=True)
class Exit:
    """Many peers go at once."""

    at_s: float = schema.number(0.0, 0.0, 1e9, "seconds")
    share: float = schema.number(0.5, 0.0, 1.0)
    polite: bool = schema.flag(False)
    back_after_s: float = schema.number(0.0, 0.0, 1e9, "seconds (0: never)")
    absence: str = schema.choice("leave", "leave", "restart", "sleep")


@dataclass(frozen=True)
class Outage:
    """The signaling server is away; of a method that has a server of its own, that one."""

    from_s: float = schema.number(0.0, 0.0, 1e9, "seconds")
    until_s: float = schema.number(0.0, 0.0, 1e9, "seconds")


@dataclass(frozen=True)
class Hostile:
    """Peers that send something else than what they have."""

    attack: str = schema.choice("nan", *ATTACKS)
    share: float = schema.number(0.1, 0.0, 1.0)
    strength: float = schema.number(0.0, 0.0, 1e30, "strength (0: that of the literature)")


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and when."""

    every_s: float = schema.number(10.0, 1e-6, 1e9, "seconds")
    peers: int = schema.whole(10, 1, 100_000, "peers whose own models are evaluated")
    test_examples: int = schema.whole(1_000, 1, 10_000_000, "examples")


@dataclass(frozen=True)
class Scenario:
    """A whole world. `Scenario.load` reads a file or a default; `changed` gives a variation."""

    name: str = schema.text("scenario")
    description: str = schema.text("")
    peers: int = schema.whole(100, 1, 1_000_000, "peers")
    duration_s: float = schema.number(600.0, 1e-6, 1e9, "seconds")
    seed: int = schema.whole(1, 0, 2**63 - 1)
    topology: str = schema.choice("view", "view", "ring", "torus", "regular", "geometric", "complete")
    availability: str = schema.text("", "the path of a CSV file of peer, on, off")
    run: Run = schema.table(Run)
    classes: tuple[PeerClass, ...] = schema.tables(PeerClass, "a list of tables [[classes]]")
    arrivals: Arrivals = schema.table(Arrivals)
    latency: Latency = schema.table(Latency)
    faults: Faults = schema.table(Faults)
    partitions: tuple[Partition, ...] = schema.tables(Partition, "a list of tables [[partitions]]")
    exits: tuple[Exit, ...] = schema.tables(Exit, "a list of tables [[exits]]")
    outages: tuple[Outage, ...] = schema.tables(Outage, "a list of tables [[outages]]")
    hostile: tuple[Hostile, ...] = schema.tables(Hostile, "a list of tables [[hostile]]")
    evaluation: Evaluation = schema.table(Evaluation)

    def __post_init__(self) -> None:
        if not self.classes:
            object.__setattr__(self, "classes", (PeerClass(),))
        if abs(sum(entry.share for entry in self.classes) - 1.0) > 1e-6:
            raise SettingsError(f"the shares of the classes add up to {sum(entry.share for entry in self.classes):g}, not to 1")
        if sum(entry.share for entry in self.hostile) > 1.0:
            raise SettingsError("the shares of the hostile peers add up to more than 1")
        if self.run.link_timeout_s <= self.run.heartbeat_interval_s:
            raise SettingsError("link_timeout_s is longer than heartbeat_interval_s")
        regions = list(self.latency.regions)
        rows = self.latency.matrix_ms
        if regions and (len(rows) != len(regions) or any(not isinstance(row, list) or len(row) != len(regions) for row in rows)):
            raise SettingsError(f"matrix_ms has {len(regions)} rows of {len(regions)} numbers, one a region")
        unknown = next((entry.region for entry in self.classes if regions and entry.region not in regions), None)
        if unknown is not None:
            raise SettingsError(f'the region of each class is one of {", ".join(map(str, regions))}, but one is "{unknown}"')

    @classmethod
    def load(cls, source: str | Path) -> Scenario:
        """Read the default of that name, or a TOML file; raises SettingsError with line, key and what was expected."""
        if str(source) in DEFAULTS:
            file = resources.files("sims.scenarios").joinpath(f"{source}.toml")
            return cls.parse(file.read_text(encoding="utf-8"), f"{source}.toml")
        path = Path(source)
        if not path.exists() and path.suffix != ".toml":
            raise SettingsError(f'There is no scenario "{source}"; give the path of a TOML file or one of {", ".join(DEFAULTS)}.')
        values, place = schema.load_toml(path)
        return schema.read_table(cls, values, place)

    @classmethod
    def parse(cls, document: str, source: str = "scenario") -> Scenario:
        """Read TOML text."""
        values, place = schema.parse_toml(document, source)
        return schema.read_table(cls, values, place)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Scenario:
        """Read plain values, as `to_plain` gives them."""
        return schema.read_table(cls, plain, schema.Place("scenario", ""))

    def to_plain(self) -> dict[str, Any]:
        """Return all settings as plain values for JSON."""
        plain: dict[str, Any] = schema.to_plain(self)
        return plain

    def to_toml(self) -> str:
        """Return the scenario as a file, every setting in it."""
        return schema.to_toml(self.to_plain())

    def changed(self, **settings: Any) -> Scenario:
        """Return a variation: `changed(peers=50)`, or with the dotted keys of a file: `changed(**{"run.codec": "float32"})`.

        A number in a dotted key counts the entries of a list from 0 (`classes.0.up_mbps`), `classes.*.up_mbps` names all.
        """
        plain = self.to_plain()
        for key, value in settings.items():
            _put(plain, key.split("."), schema.to_plain(value), key)
        return Scenario.from_plain(plain)


def _put(node: Any, path: list[str], value: Any, key: str) -> None:
    head, rest = path[0], path[1:]
    if isinstance(node, list):
        if head == "*":
            entries = node
        elif head.isdigit() and int(head) < len(node):
            entries = [node[int(head)]]
        else:
            raise SettingsError(f'"{key}" names an entry that the scenario does not have; it has {len(node)} there.')
        for entry in entries:
            _put(entry, rest, value, key)
    elif not rest:
        node[head] = value
    else:
        _put(node.setdefault(head, {}), rest, value, key)


def keys() -> list[str]:
    """Return every dotted key that a scenario's file may have."""
    found: list[str] = []
    for entry in dataclasses.fields(Scenario):
        check: schema.Check = entry.metadata["check"]
        if check.table is None:
            found.append(entry.name)
        else:
            star = ".*" if check.many else ""
            found += [f"{entry.name}{star}.{inner.name}" for inner in dataclasses.fields(check.table)]
    return found
