"""A scenario is a file that people write: its mistakes are told with line, key and what was expected."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlearn.errors import SettingsError
from sims import schema
from sims.names import DEFAULTS
from sims.scenario import PeerClass, Scenario, keys
from sims.simulation import make_world
from sims.toml_lines import key_lines
from sims.world import World

LINE = re.compile(r'world\.toml, line (\d+): (?:"([^"]+)": )?(.*)', re.DOTALL)
CLASS = "[[classes]]\n"
EU_US = "[latency]\nregions = ['eu', 'us']\n"

# Each mistake: the file, and the line, the key and the words of its error.
MISTAKES: list[tuple[str, int, str, str]] = [
    # keys that there are not
    ("peers = 10\nduration = 5", 2, "duration", 'no such key; did you mean "duration_s"? expected one of'),
    ("[run]\nkodec = 'float32'", 2, "run.kodec", 'did you mean "codec"?'),
    ("[fault]\nloss = 0.1", 1, "fault", 'did you mean "faults"?'),
    ("[[classes]]\nname = 'a'\nspeed = 3", 3, "classes.0.speed", "no such key"),
    ("[latency]\n\n# a note\nrtt = 3", 4, "latency.rtt", "no such key"),
    # kinds and ranges
    ("name = 5", 1, "name", "expected text, but it is 5"),
    ("description = true", 1, "description", "expected text, but it is true"),
    ("peers = 0", 1, "peers", "expected a whole number of peers from 1 to 1,000,000, but it is 0"),
    ("peers = 1.5", 1, "peers", "whole number of peers from 1 to 1,000,000, but it is 1.5"),
    ("peers = true", 1, "peers", "whole number"),
    ("peers = 'ten'", 1, "peers", 'but it is "ten"'),
    ("peers = 2020-01-01", 1, "peers", "but it is 2020-01-01"),
    ("\n\nduration_s = -1", 3, "duration_s", "a number of seconds from 1e-06 to 1e+09, but it is -1"),
    ("duration_s = nan", 1, "duration_s", "but it is nan"),
    ("duration_s = inf", 1, "duration_s", "but it is inf"),
    ("seed = -1", 1, "seed", "whole number from 0"),
    (f"seed = {2**63}", 1, "seed", "whole number from 0"),
    ("topology = 'star'", 1, "topology", 'expected one of "view", "ring"'),
    ("[run]\n\ncodec = 'modular9'", 3, "run.codec", 'expected one of "modular8"'),
    ("run.view_size = 99", 1, "run.view_size", "a whole number of links from 1 to 64, but it is 99"),
    ("run = { view_size = 99 }", 1, "run.view_size", "from 1 to 64"),
    ("[run]\n'view_size' = 99", 2, "run.view_size", "from 1 to 64"),
    ("[run]\nmethod = 'magic'", 2, "run.method", 'expected one of "mesh"'),
    ("[run]\npull_codec = 'modular8'", 2, "run.pull_codec", 'expected one of "linear8"'),
    ("[faults]\nloss = 1.0", 2, "faults.loss", "a number from 0 to 0.99, but it is 1.0"),
    ("[[exits]]\npolite = 1", 2, "exits.0.polite", "expected true or false, but it is 1"),
    ("[[hostile]]\nattack = 'lie'", 2, "hostile.0.attack", 'expected one of "nan"'),
    ("[evaluation]\nevery_s = 0", 2, "evaluation.every_s", "a number of seconds"),
    # tables
    ("run = 3", 1, "run", "expected a table [run], but it is 3"),
    ("[[run]]\nview_size = 3", 1, "run", "expected a table [run]"),
    ("peers = 3\n[classes]\nname = 'a'", 2, "classes", "expected a list of tables [[classes]]"),
    ("exits = [3]", 1, "exits", "expected a list of tables [[exits]], but it is [3]"),
    ("exits = [\n  { at_s = 3 },\n  { at_s = -3 },\n]", 3, "exits.1.at_s", "a number of seconds from 0"),
    # models, data, optimisers
    ("[run]\nmodel = 'resnet'", 2, "run.model", 'expected "softmax", "mlp-64" (hidden units)'),
    ("[run]\nmodel = 'mlp-0'", 2, "run.model", 'expected "softmax"'),
    ("[run]\nmodel = { layers = [] }", 2, "run.model", "format"),
    (
        "[run]\n[run.model]\nformat = 1\ninput = [8]\nloss = 'softmax_cross_entropy'\nlayers = [{ layer = 'Dense', units = 10 }]",
        2,
        "run.model",
        "expected a model of [8, 8, 1] values and 10 classes, as digits-8x8 has, but it is one of [8] and 10",
    ),
    ("[run]\nmodel = 5", 2, "run.model", "or a table with a model specification, but it is 5"),
    ("[run]\ndata = 'mnist.npz'", 2, "run.data", "or the path of a data set, but there is no file"),
    ("[run]\ndata = 3", 2, "run.data", 'expected "digits-8x8", "digits", "blobs"'),
    ("[run]\nskew = 'odd'", 2, "run.skew", 'expected "even", "dirichlet:0.5" or "classes:2"'),
    ("[run]\nskew = 'dirichlet:0'", 2, "run.skew", "a concentration from 0.001"),
    ("[run]\nskew = 'classes:0'", 2, "run.skew", "expected 1 class or more a peer"),
    ("[run]\noptimiser = 'sgd'", 2, "run.optimiser", 'a table such as { name = "sgd", learning_rate = 0.1 }, but it is "sgd"'),
    ("[run]\noptimiser = { name = 'sgd', rate = 1 }", 2, "run.optimiser", "rate"),
    ("[run]\noptimiser = { name = 'adam', beta1 = 2 }", 2, "run.optimiser", "beta1"),
    # laws
    ("[latency]\nround_trip_ms = { law = 'weibull' }", 2, "latency.round_trip_ms", "the law weibull has shape and scale"),
    ("[latency]\nround_trip_ms = -3", 2, "latency.round_trip_ms", "a number from 0, but it is -3"),
    ("[latency]\nround_trip_ms = { law = 'zipf', a = 1 }", 2, "latency.round_trip_ms", "expected a number, or a law such as"),
    (f"{CLASS}steps_per_s = 'fast'", 2, "classes.0.steps_per_s", "expected a number, or a law such as"),
    (f"{CLASS}steps_per_s = {{ law = 'uniform', low = 3, high = 2 }}", 2, "classes.0.steps_per_s", "low is less than high"),
    (f"{CLASS}session_s = 0", 2, "classes.0.session_s", "longer than 0 seconds"),
    (f"{CLASS}session_s = {{ law = 'log-normal', median = 1, sigma = 1e9 }}", 2, "classes.0.session_s", "beyond all measure"),
    (
        f"{CLASS}session_s = {{ law = 'mixture', share = 2, first = 1, second = 2 }}",
        2,
        "classes.0.session_s",
        "the share of a mixture is a number between 0 and 1",
    ),
    # what fits alone but not together
    (f"{CLASS}name = 'a'\nshare = 0.3", 3, "classes.0.share", "the shares of classes add up to 0.3, expected 1"),
    (f"{CLASS}share = 0.5\n{CLASS}name = 'b'\n\nshare = 0.6", 6, "classes.1.share", "add up to 1.1, expected 1"),
    (f"{CLASS}name = 'a'\n{CLASS}name = 'b'", 3, "classes.1.share", "add up to 2, expected 1"),
    ("[[hostile]]\nshare = 0.7\n[[hostile]]\nshare = 0.7", 4, "hostile.1.share", "add up to 1.4, expected at most 1"),
    ("[[partitions]]\nat_s = 5\nheal_s = 2", 3, "partitions.0.heal_s", "expected a time after at_s (5), but it is 2"),
    ("[[partitions]]\nheal_s = 0", 2, "partitions.0.heal_s", "expected a time after at_s (0)"),
    (
        "[[partitions]]\nheal_s = 9\n[[partitions]]\nat_s = 5",
        4,
        "partitions.1.at_s",
        "after the partition before it has healed (9 s)",
    ),
    ("[[partitions]]\nparts = 1", 2, "partitions.0.parts", "a whole number of equal parts from 2 to 1,000"),
    ("[[partitions]]\nparts = [0.5, 0.4]", 2, "partitions.0.parts", "the shares of the parts add up to 0.9, expected 1"),
    ("[[partitions]]\nparts = 3\nshare = 0.2", 3, "partitions.0.share", "share is about two parts"),
    ("[[outages]]\nfrom_s = 5\nuntil_s = 5", 3, "outages.0.until_s", "expected a time after from_s (5), but it is 5"),
    ("[run]\nheartbeat_interval_s = 50", 2, "run.heartbeat_interval_s", "expected link_timeout_s (8) to be longer"),
    ("[run]\nlink_timeout_s = 1", 2, "run.link_timeout_s", "expected link_timeout_s (1) to be longer"),
    (f"{CLASS}online_at_start = 0.5", 2, "classes.0.online_at_start", "expected absence_s beside it"),
    (f"{CLASS}region = 'eu'", 2, "classes.0.region", "expected latency.regions to name the regions"),
    (
        f"{EU_US}matrix_ms = [[1, 2], [2, 1]]\n{CLASS}region = 'asia'",
        5,
        "classes.0.region",
        'expected one of eu, us, the regions of the latency, but it is "asia"',
    ),
    (f"{EU_US}matrix_ms = [[1, 2]]", 3, "latency.matrix_ms", "expected 2 rows of 2 numbers, one a region, but there are 1 rows"),
    (f"{EU_US}matrix_ms = [['q']]", 3, "latency.matrix_ms", "a list of rows of numbers"),
    (f"{EU_US}matrix_ms = [[1, nan], [1, 1]]", 3, "latency.matrix_ms", "a list of rows of numbers"),
    (EU_US, 2, "latency.regions", "expected 2 rows of 2 numbers, one a region, but there are none"),
    ("[latency]\nregions = ['eu', 'eu']", 2, "latency.regions", "names that are all different"),
    ("[latency]\nregions = 'eu'", 2, "latency.regions", "a list of names"),
    (f"{EU_US}matrix_ms = [[1, 2], [2, 1]]\nper = 'message'\n{CLASS}region = 'eu'", 4, "latency.per", 'expected "pair"'),
    ("peers = 17\ntopology = 'torus'", 2, "topology", "17 peers make no torus; expected a number such as 16"),
    ("topology = 'complete'\npeers = 66", 1, "topology", "expected at most 65 peers"),
    ("topology = 'regular'\npeers = 5\n[run]\ndegree = 3", 1, "topology", "5 peers of 3 links each make no graph"),
    # files
    ("availability = 'none.csv'", 1, "availability", "the path of a CSV file of peer, on, off, but there is no file"),
    ("[latency]\nfile = 'none.txt'", 2, "latency.file", "the path of a matrix of round trips, but there is no file"),
    # what a run finds out
    ("peers = 7000", 1, "peers", "6000 examples can be divided among 1 to 6000 peers"),
    ("[run]\nskew = 'classes:11'", 2, "run.skew", "A peer can hold 1 to 10 classes"),
    ("[run]\ndata = 'world.toml'\nmodel = 'softmax'", 2, "run.data", "is too short for windows"),
    ("[run]\nmethod = 'epidemic'\nmodel = 'consensus'", 3, "run.model", "the method epidemic trains a model"),
    # what is no TOML
    ("peers = = 3", 1, "", 'expected TOML, but it is not in "peers = = 3": invalid value'),
    ("peers = 3\npeers = 4", 2, "", "cannot overwrite a value"),
    ("name = 'a", 1, "", "expected TOML, but it is not"),
    ("peers = 3\n[run\nview_size = 3", 2, "", "expected TOML"),
]


def test_there_are_mistakes_of_every_table():
    assert len(MISTAKES) >= 60
    tables = {key.partition(".")[0].partition("[")[0] for _, _, key, _ in MISTAKES}
    assert tables >= {key.partition(".")[0] for key in keys() if "." in key} - {"arrivals"}


@pytest.mark.parametrize(("document", "line", "key", "said"), MISTAKES, ids=[f"{key}-{line}" for _, line, key, _ in MISTAKES])
def test_a_mistake_is_told_with_its_line_its_key_and_what_was_expected(
    document: str, line: int, key: str, said: str, tmp_path: Path
):
    path = tmp_path / "world.toml"
    path.write_text(document)
    with pytest.raises(SettingsError) as caught:
        make_world(Scenario.load(path))
    found = LINE.search(str(caught.value))
    assert found is not None, caught.value
    assert (int(found[1]), found[2] or "") == (line, key), caught.value
    assert said in found[3]
    assert "\n" not in found[3]


# Any value that TOML can hold, and some that people write by mistake.
_scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    st.sampled_from(["even", "classes:99", "mlp-²", "mlp-5", "\0", "x" * 300, "consensus", "uniform", "eu", 0, -1, 1e300]),
)
plain_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["law", "name", "mean", "low", "high", "share", "first", "x y", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)


def places_of(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in inner for place in ((*path, key), *places_of(value, (*path, key)))]


def replaced(node: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    changed = {key: replaced(inner, path[1:], value) if key == path[0] else inner for key, inner in pairs}
    return changed if isinstance(node, dict) else list(changed.values())


PLACES = [(name, place) for name in DEFAULTS for place in places_of(Scenario.load(name).to_plain())]


def outcome(read: Callable[[], Scenario]) -> str:
    """What is wrong with a scenario, empty where it is sound and comes back from its own text; no other error is let through."""
    try:
        scenario = read()
    except SettingsError as problem:
        return str(problem)
    assert Scenario.parse(scenario.to_toml()) == scenario
    return ""


@given(st.sampled_from(PLACES), plain_values)
@settings(max_examples=400, deadline=None)
def test_whatever_stands_at_any_place_is_read_or_refused_with_line_and_key(place: tuple[str, tuple[str | int, ...]], value: Any):
    name, path = place
    document = schema.to_toml(replaced(Scenario.load(name).to_plain(), path, value))
    problem = outcome(lambda: Scenario.parse(document, "world.toml"))
    found = LINE.fullmatch(problem)
    assert not problem or (found is not None and found[2] and 1 <= int(found[1]) <= document.count("\n")), problem


@given(
    st.sampled_from([*keys(), "peers.x", "run.model.foo", "classes.9.name", "x", "", ".", "classes.*", "latency.."]), plain_values
)
@settings(max_examples=400, deadline=None)
def test_whatever_is_set_is_taken_or_refused_with_the_key_that_was_set(key: str, value: Any):
    problem = outcome(lambda: Scenario.load("home-volunteers").varied({key: value}, {key: f"--set {key}"}))
    assert not problem or problem.startswith(f"--set {key}: ")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("peers.x", 1, "--set peers.x: there is no such key; what it stands in is 200."),
        ("run.model.foo", 1, '--set run.model.foo: there is no such key; what it stands in is "softmax".'),
        ("run.kodec", "x", '--set run.kodec: there is no such key; did you mean "codec"?'),
        ("examples_per_peer", 9, '--set examples_per_peer: there is no such key; did you mean "run.examples_per_peer"?'),
        ("run.loss", 0.1, '--set run.loss: there is no such key; did you mean "faults.loss"?'),
        ("up_mpbs", 0.1, '--set up_mpbs: there is no such key; did you mean "classes.*.up_mbps"?'),
        ("classes.5.up_mbps", 1, "--set classes.5.up_mbps: there is no such entry; the scenario has 2 there, counted from 0."),
        ("exits.0.share", 1, "--set exits.0.share: there is no such entry; the scenario has 0 there"),
        ("classes.*.up_mbps", "x", '--set classes.*.up_mbps: "classes.0.up_mbps": expected a number of Mbit/s'),
        ("run.heartbeat_interval_s", 50, "--set run.heartbeat_interval_s: expected link_timeout_s (40) to be longer"),
        ("run.optimiser.learning_rate", -1, '--set run.optimiser.learning_rate: "run.optimiser": The optimiser'),
        ("topology", "torus", None),
        ("run.optimiser.momentum", 0.9, None),
        ("latency.round_trip_ms.median", 10, None),
    ],
)
def test_a_setting_of_the_command_line_is_named_in_place_of_a_line(key: str, value: Any, said: str | None):
    scenario = Scenario.load("home-volunteers")
    if said is None:
        assert scenario.varied({key: value}, {key: f"--set {key}"}) != scenario
        return
    with pytest.raises(SettingsError) as caught:
        scenario.varied({key: value}, {key: f"--set {key}"})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("optimiser", [{"name": "sgd", "learning_rate": -1}, {"name": "x"}, {"name": "sgd", "x": 1}, 5])
def test_what_is_wrong_with_an_optimiser_is_said_once(optimiser: Any):
    with pytest.raises(SettingsError) as caught:
        Scenario().changed(**{"run.optimiser": optimiser})
    assert str(caught.value).count("but it ") == 1


def test_a_mistake_that_a_file_and_the_command_line_make_together_names_the_command_line(tmp_path: Path):
    (tmp_path / "world.toml").write_text("topology = 'torus'\npeers = 16")
    with pytest.raises(SettingsError, match=r"^--peers: 17 peers make no torus"):
        Scenario.load(tmp_path / "world.toml").varied({"peers": 17}, {"peers": "--peers"})


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_read_and_comes_back_from_its_own_text(name: str):
    scenario = Scenario.load(name)
    assert scenario.name == name
    assert Scenario.parse(scenario.to_toml()) == scenario
    assert Scenario.from_plain(scenario.to_plain()) == scenario
    assert Scenario.from_plain(json.loads(json.dumps(scenario.to_plain()))) == scenario


def test_the_defaults_have_the_figures_of_the_literature():
    home, extreme, mobile = (Scenario.load(name) for name in ("home-volunteers", "extreme", "mobile-flash-crowd"))
    assert home.to_plain()["classes"][0]["session_s"] == {"law": "weibull", "shape": 0.59, "scale": 2514.0}
    assert (home.faults.relay, home.faults.unreachable, home.faults.loss) == (0.20, 0.005, 0.005)
    assert (extreme.faults.loss, extreme.faults.mode, extreme.latency.per) == (0.5, "drop", "message")
    assert (mobile.arrivals.share, mobile.arrivals.within_s, mobile.faults.relay) == (0.8, 60.0, 0.4)


def test_an_unknown_scenario_is_told_what_there_is(tmp_path: Path):
    with pytest.raises(SettingsError, match='did you mean "home-volunteers"'):
        Scenario.load("homevolunteers")
    with pytest.raises(SettingsError, match="cannot be read"):
        Scenario.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(SettingsError, match="not UTF-8"):
        Scenario.load(tmp_path / "bytes.toml")


def test_what_no_parser_can_hold_is_refused():
    for document in ("x = " + "[" * 5000 + "]" * 5000, "peers = " + "1" * 5000):
        with pytest.raises(SettingsError, match=r"^world.toml"):
            Scenario.parse(document, "world.toml")


def test_a_variation_changes_what_it_names():
    scenario = Scenario.load("home-volunteers").changed(peers=7, **{"run.codec": "float32", "classes.*.up_mbps": 1.0})
    assert (scenario.peers, scenario.run.codec) == (7, "float32")
    assert [entry.up_mbps for entry in scenario.classes] == [1.0, 1.0]
    with pytest.raises(SettingsError, match=r"changed run.kodec: there is no such key"):
        scenario.changed(**{"run.kodec": "float32"})
    assert "faults.loss" in keys()
    assert "classes.*.session_s" in keys()


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "trips.txt").write_text("0 5\n5 0\n")
    (tmp_path / "trace.csv").write_text("a,0,5\n")
    (tmp_path / "world" / "world.toml").write_text("availability = '../trace.csv'\n[latency]\nfile = 'trips.txt'\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    scenario = Scenario.load("../world/world.toml")
    assert scenario.latency.file == str(tmp_path / "world" / "trips.txt")
    assert scenario.availability == str(tmp_path / "trace.csv")
    # Another process has another working folder, and what a run leaves behind lies somewhere else.
    monkeypatch.chdir(tmp_path)
    assert Scenario.from_plain(scenario.to_plain()).changed(peers=3).latency.file == scenario.latency.file
    assert Scenario.parse(scenario.to_toml()) == scenario


def test_lines_are_found_in_every_form_that_toml_has():
    document = '''# a = 1
a = """
b = 2
"""
c.d = 'e = 3' # f = 4
"g h" = [
  1, # [no]
  { i = 5, "j" = [6,
    7] },
]
[k.l]
m = 1979-05-27 07:32:00
[[n]]
o = 1
[n.p]
q = 2
[[n]]
  [[n.r]]
  s = "\\"]"
'''
    lines = key_lines(document)
    expected = {
        ("a",): 2,
        ("c",): 5,
        ("c", "d"): 5,
        ("g h",): 6,
        ("g h", 0): 7,
        ("g h", 1, "i"): 8,
        ("g h", 1, "j", 1): 9,
        ("k", "l"): 11,
        ("k", "l", "m"): 12,
        ("n", 0): 13,
        ("n", 0, "o"): 14,
        ("n", 0, "p", "q"): 16,
        ("n", 1): 17,
        ("n", 1, "r", 0, "s"): 19,
    }
    assert {path: lines[path] for path in expected} == expected
    assert not {path for path in lines if path[-1] in ("b", "e", "f")}


def test_a_matrix_of_regions_holds_the_medians_whatever_the_law_is():
    regions = {"regions": ["eu", "us"], "matrix_ms": [[10, 90], [90, 20]]}
    classes = [{"name": "here", "share": 0.5, "region": "eu"}, {"name": "there", "share": 0.5, "region": "us"}]
    plain = {"peers": 40, "latency": regions, "classes": classes, "run": {"data": "blobs"}}

    def trips(world: World) -> dict[tuple[int, int], list[float]]:
        found: dict[tuple[int, int], list[float]] = {}
        for one in world.nodes:
            for other in world.nodes[: one.number]:
                pair = (min(one.region, other.region), max(one.region, other.region))
                found.setdefault(pair, []).append(world.network.round_trip_s(one, other) * 1000)
        return found

    exact = trips(make_world(Scenario.from_plain(plain)))
    assert {pair: set(values) for pair, values in exact.items()} == {(0, 0): {10.0}, (0, 1): {90.0}, (1, 1): {20.0}}
    law = {"law": "log-normal", "median": 60.0, "sigma": 0.5}
    scattered = trips(make_world(Scenario.from_plain({**plain, "latency": {**regions, "round_trip_ms": law}})))
    assert len(set(scattered[0, 1])) == 400
    assert median(scattered[0, 1]) == pytest.approx(90.0, rel=0.15)


@pytest.mark.parametrize(
    ("cut", "sizes"),
    [
        ({}, [20, 20]),
        ({"share": 0.25}, [10, 30]),
        ({"parts": 4}, [10, 10, 10, 10]),
        ({"parts": [0.5, 0.25, 0.25]}, [10, 10, 20]),
        ({"parts": [0.7, 0.2, 0.1]}, [4, 8, 28]),
    ],
)
def test_a_partition_has_as_many_parts_as_it_says_and_heals(cut: dict[str, Any], sizes: list[int]):
    plain = {"peers": 40, "run": {"data": "blobs"}, "partitions": [{"at_s": 5, "heal_s": 10, **cut}]}
    world = make_world(Scenario.from_plain(plain))
    world.start()
    world.run(until=6.0)
    groups = Counter(node.group for node in world.nodes)
    assert sorted(groups.values()) == sizes
    apart = [(one, other) for one in world.nodes for other in world.nodes if one.group != other.group]
    assert not any(world.network.reachable(one, other) for one, other in apart)
    world.run(until=11.0)
    assert all(world.network.reachable(one, other) for one, other in apart)


def scenario_file(name: str) -> list[str]:
    return resources.files("sims.scenarios").joinpath(f"{name}.toml").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_key_of_a_default_is_explained(name: str):
    lines = scenario_file(name)
    for before, line in zip(["", *lines], lines, strict=False):
        if re.match(r"[a-z_]+ = ", line):
            assert " # " in line or before.startswith("# "), line


def test_the_reference_has_every_key_with_its_default():
    table, found = "", {}
    for line in scenario_file("office-lan"):
        if header := re.match(r"(?:# )?\[+(\w+)\]+", line):
            table = header[1] + "."
        elif key := re.match(r"(# )?([a-z_]+) = (.*?)(?:\s+# .*)?$", line):
            found[table + key[2]] = tomllib.loads(f"value = {key[3]}")["value"] if key[1] else None
    listed = ("classes", "partitions", "exits", "outages", "hostile")
    assert set(found) == {key.replace(".*", "") for key in keys()}
    plain = schema.to_plain(Scenario()) | {"classes": schema.to_plain(PeerClass())}
    for key, value in found.items():
        head, _, inner = key.partition(".")
        default = plain.get(head) if not inner else plain.get(head, {}).get(inner)
        if value is not None and default is not None and (head == "classes" or head not in listed):
            assert value == default, key
