# ruff: noqa: RUF009 - the functions of sims.schema are dataclasses.field by other names
"""A scenario: a simulated world as one TOML file. The files in `sims/scenarios` are its documentation."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from meshlearn.errors import SettingsError
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.partition import SKEW
from meshlearn.learning.spec import ModelSpec
from meshlearn.protocol.averaging import check_rule
from meshlearn.wire import limits
from sims import schema
from sims.laws import EXPECTED, Constant, Law, law_from
from sims.names import ATTACKS, DEFAULTS, METHODS
from sims.schema import Misfit

MODEL = re.compile(r"softmax|consensus|mlp(-[1-9][0-9]{0,4}){1,8}")
DATA = ("digits-8x8", "digits", "blobs")
# What the examples of the data that ships are like: shape and classes. Other data is asked when a run opens it.
_SHAPES = {"digits-8x8": ((8, 8, 1), 10), "digits": ((28, 28, 1), 10), "blobs": ((16,), 4)}


def _model(value: object) -> str | dict[str, Any]:
    if isinstance(value, dict):
        ModelSpec.from_json(value)
        return value
    if not isinstance(value, str) or not MODEL.fullmatch(value):
        raise ValueError
    return value


def _optimiser(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    make_optimiser(value, 1)
    return value


def _skew(value: object) -> str:
    if not isinstance(value, str) or not (found := SKEW.fullmatch(value)):
        raise ValueError
    if found["alpha"] is not None and not 1e-3 <= float(found["alpha"]) <= 1e6:
        raise SettingsError("expected a concentration from 0.001 to 1,000,000")
    if found["count"] is not None and int(found["count"]) < 1:
        raise SettingsError("expected 1 class or more a peer")
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name for name in value):
        raise ValueError
    if len(set(value)) != len(value):
        raise SettingsError("expected a list of names that are all different")
    return tuple(value)


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _matrix(value: object) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(row, list | tuple) for row in value):
        raise ValueError
    for row in value:
        if not all(_is_number(entry, 0.0, 1e7) for entry in row):
            raise ValueError
    return tuple(tuple(float(entry) for entry in row) for row in value)


def _parts(value: object) -> int | tuple[float, ...]:
    if isinstance(value, list | tuple):
        if len(value) < 2 or not all(_is_number(share, 0.0, 1.0) for share in value):
            raise ValueError
        if abs(sum(value) - 1.0) > 1e-6:
            raise SettingsError(f"the shares of the parts add up to {sum(value):g}, expected 1")
        return tuple(float(share) for share in value)
    if not isinstance(value, int) or isinstance(value, bool) or not 2 <= value <= 1000:
        raise ValueError
    return value


def _session(value: object) -> Law:
    found = law_from(value)
    if isinstance(found, Constant) and found.value <= 0:
        raise SettingsError("expected a session that is longer than 0 seconds")
    return found


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and with which settings of the protocol."""

    method: str = schema.choice("mesh", *METHODS)
    model: Any = schema.value(
        "softmax", '"softmax", "mlp-64" (hidden units), "mlp-128-128", "consensus", or a table with a model specification', _model
    )
    seed: int = schema.whole(-1, -1, 2**53)
    """Gives the initial vector and the division of the data, as `meshlearn new --seed` does; -1: drawn from the world's seed."""
    data: str = schema.file('"digits-8x8", "digits", "blobs", or the path of a data set', *DATA)
    examples_per_peer: int = schema.whole(0, 0, 1_000_000, "examples, drawn with replacement (0: the data is divided)")
    skew: str = schema.value("even", '"even", "dirichlet:0.5" or "classes:2" (or another number)', _skew)
    batch_size: int = schema.whole(32, 1, 65_536, "examples")
    optimiser: Any = schema.value(
        {"name": "sgd", "learning_rate": 0.1}, 'a table such as { name = "sgd", learning_rate = 0.1 }', _optimiser
    )
    parameters: int = schema.whole(64, 1, 10_000_000, "values of a consensus run's vectors")
    rule: str = schema.choice("pairwise", "pairwise", "drift-corrected", "none")
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
    refresh_interval_s: float = schema.number(60.0, 0.0, 1e6, "seconds between two links that a full view replaces (0: never)")
    clip_factor: float = schema.number(4.0, 0.01, 1e9)
    norm_factor: float = schema.number(2.0, 0.01, 1e9)
    answer_timeout_s: float = schema.number(15.0, 0.001, 1e6, "seconds after which a method of the literature gives an answer up")
    local_steps: int = schema.whole(10, 1, 100_000, "steps between two messages of a method that counts steps")
    degree: int = schema.whole(3, 1, 1_000, "links a peer of a method with a fixed graph")
    graph: str = schema.choice("regular", "regular", "ring")
    choco_gamma: float = schema.number(0.3, 0.0, 1.0)

    def __post_init__(self) -> None:
        if self.link_timeout_s <= self.heartbeat_interval_s:
            raise Misfit(
                f"expected link_timeout_s ({self.link_timeout_s:g}) to be longer than heartbeat_interval_s "
                f"({self.heartbeat_interval_s:g})",
                ("link_timeout_s",),
                ("heartbeat_interval_s",),
            )
        if self.method != "mesh" and self.model == "consensus":
            raise Misfit(
                f"the method {self.method} trains a model; a consensus run needs the method mesh", ("model",), ("method",)
            )
        try:
            check_rule(self.rule, self.optimiser["name"])
        except SettingsError as error:
            raise Misfit(str(error).rstrip("."), ("rule",), ("optimiser",)) from None
        self._check_model()

    def _check_model(self) -> None:
        if self.data not in _SHAPES or not isinstance(self.model, dict):
            return
        shape, classes = _SHAPES[self.data]
        spec = ModelSpec.from_json(self.model)
        if spec.input_shape != shape or spec.classes != classes:
            raise Misfit(
                f"expected a model of {list(shape)} values and {classes} classes, as {self.data} has, but it is one of "
                f"{list(spec.input_shape)} and {spec.classes}",
                ("model",),
                ("data",),
            )


@dataclass(frozen=True)
class PeerClass:
    """A kind of peers: how fast they are, how they are connected, how long they stay."""

    name: str = schema.text("peer")
    share: float = schema.number(1.0, 0.0, 1.0)
    steps_per_s: Law = schema.law(Constant(10.0))
    up_mbps: float = schema.number(0.0, 0.0, 1e9, "Mbit/s (0: unlimited)")
    down_mbps: float = schema.number(0.0, 0.0, 1e9, "Mbit/s (0: unlimited)")
    read_mbps: float = schema.number(0.0, 0.0, 1e9, "Mbit/s that the peer reads from one link (0: as it comes)")
    session_s: Law | None = schema.value(None, EXPECTED, _session)
    absence_s: Law | None = schema.law(None)
    absence: str = schema.choice("leave", "leave", "restart", "sleep")
    polite: float = schema.number(0.8, 0.0, 1.0)
    online_at_start: float = schema.number(1.0, 0.0, 1.0)
    nat: str = schema.choice("behind", "open", "behind", "relayed", "unreachable")
    region: str = schema.text("")
    clock_skew: float = schema.number(0.0, 0.0, 0.5, "the relative error of the clock's rate, either way")
    clock_offset_s: float = schema.number(0.0, 0.0, 1e9, "seconds, either way")

    def __post_init__(self) -> None:
        if self.online_at_start < 1.0 and self.absence_s is None:
            raise Misfit(
                "expected absence_s beside it: those who are not there at the start are absent for so long", ("online_at_start",)
            )


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
    """How long a message is on its way.

    With regions, the entries of their matrix are the medians of the round trips, and `round_trip_ms` gives how these scatter: a
    draw over the law's own median is the factor. So a number (the default) leaves the matrix as it is.
    """

    round_trip_ms: Law = schema.law(Constant(20.0))
    per: str = schema.choice("pair", "pair", "message")
    jitter: float = schema.number(0.0, 0.0, 100.0)
    regions: tuple[str, ...] = schema.value((), 'a list of names such as ["eu", "us"]', _names)
    matrix_ms: tuple[tuple[float, ...], ...] = schema.value((), "a list of rows of numbers of ms, one row a region", _matrix)
    file: str = schema.file("the path of a matrix of round trips")
    unit: str = schema.choice("ms", "ms", "us", "s")
    connect_round_trips: float = schema.number(4.0, 0.0, 1_000.0)
    introduction_s: float = schema.number(0.1, 0.0, 1e4, "seconds")

    def __post_init__(self) -> None:
        count, sizes = len(self.regions), [len(row) for row in self.matrix_ms]
        if sizes != [count] * count:
            there = f"{len(sizes)} rows of {', '.join(map(str, sizes))}" if sizes else "none"
            said = f"expected {count} rows of {count} numbers, one a region, but there are {there}"
            raise Misfit(said, ("matrix_ms",), ("regions",))
        if self.regions and self.file:
            raise Misfit("expected either a file or regions with their matrix, not both", ("file",))
        if self.per == "message" and (self.regions or self.file):
            raise Misfit('expected "pair": a matrix of round trips gives one a pair', ("per",), ("file",), ("regions",))


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
    """A cut of the network in two or more parts that do not hear each other, and its end."""

    at_s: float = schema.number(0.0, 0.0, 1e9, "seconds")
    heal_s: float = schema.number(1e9, 0.0, 1e9, "seconds")
    parts: Any = schema.value(
        2, "a whole number of equal parts from 2 to 1,000, or a list of their shares such as [0.5, 0.3, 0.2]", _parts
    )
    share: float = schema.number(0.5, 0.0, 1.0)
    """Of two parts, the second one's."""

    def __post_init__(self) -> None:
        if self.heal_s <= self.at_s:
            raise Misfit(f"expected a time after at_s ({self.at_s:g}), but it is {self.heal_s:g}", ("heal_s",), ("at_s",))
        if self.share != 0.5 and self.parts != 2:
            raise Misfit("share is about two parts; give the shares of more as parts = [0.5, 0.3, 0.2]", ("share",))

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of the peers that is in each part."""
        if isinstance(self.parts, tuple):
            return self.parts
        return (1.0 - self.share, self.share) if self.parts == 2 else (1.0 / self.parts,) * self.parts


@dataclass(frozen=True)
class Exit:
    """Many peers go at once, and come back at once: correlated leave.

    Who comes back with the model that it had (`restart`) goes on with it and gives it to newcomers (`leave`). Where nobody has
    kept it, all newcomers begin anew from the initial vector. A sleep ends the session; another one begins with the waking.
    """

    at_s: float = schema.number(0.0, 0.0, 1e9, "seconds")
    share: float = schema.number(0.5, 0.0, 1.0)
    polite: bool = schema.flag(False)
    back_after_s: float = schema.number(0.0, 0.0, 1e9, "seconds (0: never)")
    absence: str = schema.choice("leave", "leave", "restart", "sleep")


@dataclass(frozen=True)
class Outage:
    """The signaling server is away; of a method that has a server of its own, that one."""

    from_s: float = schema.number(0.0, 0.0, 1e9, "seconds")
    until_s: float = schema.number(1e9, 0.0, 1e9, "seconds")

    def __post_init__(self) -> None:
        if self.until_s <= self.from_s:
            raise Misfit(f"expected a time after from_s ({self.from_s:g}), but it is {self.until_s:g}", ("until_s",), ("from_s",))


@dataclass(frozen=True)
class Hostile:
    """Peers that send something else than what they have: the share of all peers, rounded, but at least one unless it is 0."""

    attack: str = schema.choice("nan", *ATTACKS)
    share: float = schema.number(0.1, 0.0, 1.0)
    strength: float = schema.number(0.0, 0.0, 1e30, "strength (0: that of the literature)")


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and when.

    The worst, median and best accuracy of a row of the series are those of `peers` random peers, or of all where there are no
    more; in the last row, and in the table of peers, of all. `peers_evaluated` says of how many.
    """

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
    availability: str = schema.file("the path of a CSV file of peer, on, off")
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

    place: ClassVar[schema.Place] = schema.Place("scenario")
    """Where the settings stand, for errors; `load` and `changed` set it."""

    def __post_init__(self) -> None:
        if not self.classes:
            object.__setattr__(self, "classes", (PeerClass(),))
        _shares_fit("classes", self.classes, exactly=True)
        _shares_fit("hostile", self.hostile, exactly=False)
        self._check_regions()
        self._check_partitions()
        self._check_topology()

    def _check_regions(self) -> None:
        regions = self.latency.regions
        for index, entry in enumerate(self.classes):
            path = ("classes", index, "region")
            if regions and entry.region not in regions:
                raise Misfit(
                    f'expected one of {", ".join(regions)}, the regions of the latency, but it is "{entry.region}"', path
                )
            if entry.region and not regions:
                raise Misfit("expected latency.regions to name the regions, but there are none", path)

    def _check_partitions(self) -> None:
        order = sorted(range(len(self.partitions)), key=lambda index: self.partitions[index].at_s)
        for before, after in itertools.pairwise(order):
            heals = self.partitions[before].heal_s
            if self.partitions[after].at_s < heals:
                said = f"expected a time after the partition before it has healed ({heals:g} s)"
                raise Misfit(said, ("partitions", after, "at_s"), ("partitions", before, "heal_s"))

    def _check_topology(self) -> None:
        if self.topology == "view" or self.run.method != "mesh":
            return
        about = (("topology",), ("peers",), ("run", "degree"))
        if self.topology == "complete" and self.peers > 65:
            raise Misfit(f"expected at most 65 peers: a peer has at most 64 links, and not {self.peers - 1:,}", *about)
        if self.topology == "torus":
            rows = next(rows for rows in range(math.isqrt(self.peers), 0, -1) if not self.peers % rows)
            if rows < 3:
                raise Misfit(f"{self.peers} peers make no torus; expected a number such as 16, 64, 100 or 1,024", *about)
        degree = self.run.degree
        if self.topology == "regular" and (degree >= self.peers or self.peers * degree % 2 or degree > 64):
            said = f"{self.peers} peers of {degree} links each make no graph: links are fewer than peers, and one number is even"
            raise Misfit(said, *about)

    def located(self, problem: Misfit) -> SettingsError:
        """Return an error that came up in a run with file, line and key of what it is about."""
        return self.place.refuse(problem.said, *problem.paths)

    @classmethod
    def load(cls, source: str | Path) -> Scenario:
        """Read the default of that name, or a TOML file; raises SettingsError with line, key and what was expected.

        Paths in a file (`latency.file`, `availability`, `run.data`) are relative to it.
        """
        if str(source) in DEFAULTS:
            file = resources.files("sims.scenarios").joinpath(f"{source}.toml")
            return cls.parse(file.read_text(encoding="utf-8"), f"{source}.toml")
        path = Path(source)
        if path.suffix != ".toml" and not path.exists():
            near = difflib.get_close_matches(str(source), DEFAULTS, 1)
            guess = f'did you mean "{near[0]}"? Give' if near else "give"
            raise SettingsError(
                f'There is no scenario "{source}"; {guess} the path of a TOML file or one of {", ".join(DEFAULTS)}.'
            )
        return cls._read(*schema.load_toml(path))

    @classmethod
    def parse(cls, document: str, source: str = "scenario") -> Scenario:
        """Read TOML text; `source` names it in errors."""
        return cls._read(*schema.parse_toml(document, source))

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Scenario:
        """Read plain values, as `to_plain` gives them."""
        return cls._read(plain, schema.Place("scenario"))

    @classmethod
    def _read(cls, values: dict[str, Any], place: schema.Place) -> Scenario:
        scenario = schema.read_table(cls, values, place)
        object.__setattr__(scenario, "place", place)
        return scenario

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
        return self.varied(settings, {key: f"changed {key}" for key in settings})

    def varied(self, settings: Mapping[str, Any], where: Mapping[str, str]) -> Scenario:
        """Return a variation as `changed` does; `where` says for each key what an error names in place of a line."""
        plain = self.to_plain()
        place = schema.Changes(self.place, where)
        for key, value in settings.items():
            _put(plain, key.split("."), schema.to_plain(value), key, place)
        place.folder = None
        return Scenario._read(plain, place)


def _shares_fit(name: str, entries: Sequence[PeerClass | Hostile], exactly: bool) -> None:
    total = sum(entry.share for entry in entries)
    if total > 1.0 + 1e-6 or (exactly and total < 1.0 - 1e-6):
        said = f"the shares of {name} add up to {total:g}, expected {'1' if exactly else 'at most 1'}"
        raise Misfit(said, *((name, index, "share") for index in range(len(entries) - 1, -1, -1)))


def _put(node: Any, path: list[str], value: Any, key: str, place: schema.Changes) -> None:
    head, rest = path[0], path[1:]
    if isinstance(node, list):
        if head == "*":
            entries: list[Any] = list(range(len(node)))
        elif head.isdecimal() and int(head) < len(node):
            entries = [int(head)]
        else:
            raise place.refuse(
                f"there is no such entry; the scenario has {len(node)} there, counted from 0", tuple(key.split("."))
            )
        for entry in entries:
            if rest:
                _put(node[entry], rest, value, key, place)
            else:
                node[entry] = value
    elif not isinstance(node, dict):
        raise place.refuse(f"there is no such key; what it stands in is {schema.shown(node)}", tuple(key.split(".")))
    elif not rest:
        node[head] = value
    else:
        inside: Any = [] if rest[0] == "*" or rest[0].isdecimal() else {}
        _put(node.setdefault(head, inside), rest, value, key, place)


def keys() -> list[str]:
    """Return every dotted key that a scenario's file may have."""
    return schema.dotted_keys(Scenario)
