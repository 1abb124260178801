"""A scenario is a file that people write: its mistakes are told with line, key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlearn.errors import SettingsError
from sims.scenario import DEFAULTS, Scenario, keys


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_read_and_comes_back_from_its_own_text(name: str):
    scenario = Scenario.load(name)
    assert scenario.name == name
    assert Scenario.parse(scenario.to_toml()) == scenario
    assert Scenario.from_plain(scenario.to_plain()) == scenario


def test_the_defaults_have_the_figures_of_the_literature():
    home, extreme, mobile = (Scenario.load(name) for name in ("home-volunteers", "extreme", "mobile-flash-crowd"))
    assert home.to_plain()["classes"][0]["session_s"] == {"law": "weibull", "shape": 0.59, "scale": 2514.0}
    assert (home.faults.relay, home.faults.unreachable, home.faults.loss) == (0.20, 0.005, 0.005)
    assert (extreme.faults.loss, extreme.faults.mode, extreme.latency.per) == (0.5, "drop", "message")
    assert (mobile.arrivals.share, mobile.arrivals.within_s, mobile.faults.relay) == (0.8, 60.0, 0.4)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("peers = 10\nduration = 5", r'world.toml, line 2: "duration": there is no such key; expected one of .*duration_s'),
        ("peers = 0", r'line 1: "peers": expected a whole number of peers from 1 to 1,000,000, but it is 0'),
        ("[run]\n\ncodec = 'modular9'", r'line 3: "run.codec": expected one of "modular8", .* but it is "modular9"'),
        ("[[classes]]\nname = 'a'\n[[classes]]\nup_mbps = 'x'", r'line 4: "classes\[2\].up_mbps": expected a number of Mbit/s'),
        ("[[classes]]\nshare = 0.3", r"the shares of the classes add up to 0.3, not to 1"),
        (
            "[latency]\nround_trip_ms = { law = 'weibull' }",
            r'line 2: "latency.round_trip_ms": the law weibull has shape and scale',
        ),
        ("[[partitions]]\nat_s = 5\nheal_s = 2", r'line 1: "partitions\[1\]": heal_s comes after at_s'),
        ("run = 3", r'line 1: "run": expected a table \[run\], but it is 3'),
        ("[classes]\nname = 'a'", r'"classes": expected a list of tables \[\[classes\]\]'),
        ("[[exits]]\npolite = 1", r'line 2: "exits\[1\].polite": expected true or false, but it is 1'),
        ("peers = = 3", r"world.toml: .*line 1"),
        ("run.view_size = 99", r'line 1: "run.view_size": expected a whole number of links from 1 to 64, but it is 99'),
        ("[latency]\nregions = ['eu']\nmatrix_ms = [[1, 2]]", r"matrix_ms has 1 rows of 1 numbers"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(document: str, said: str, tmp_path: Path):
    path = tmp_path / "world.toml"
    path.write_text(document)
    with pytest.raises(SettingsError, match=said):
        Scenario.load(path)


def test_an_unknown_scenario_is_told_what_there_is(tmp_path: Path):
    with pytest.raises(SettingsError, match="office-lan, home-volunteers"):
        Scenario.load("homevolunteers")
    with pytest.raises(SettingsError, match="cannot be read"):
        Scenario.load(tmp_path / "none.toml")


def test_a_variation_changes_what_it_names():
    scenario = Scenario.load("home-volunteers").changed(peers=7, **{"run.codec": "float32", "classes.*.up_mbps": 1.0})
    assert (scenario.peers, scenario.run.codec) == (7, "float32")
    assert [entry.up_mbps for entry in scenario.classes] == [1.0, 1.0]
    with pytest.raises(SettingsError, match="no such key"):
        scenario.changed(**{"run.kodec": "float32"})
    with pytest.raises(SettingsError, match="does not have"):
        scenario.changed(**{"classes.5.up_mbps": 1.0})
    assert "faults.loss" in keys()
    assert "classes.*.session_s" in keys()
