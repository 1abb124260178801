"""The figures for Prometheus: there from the start, right, and bounded."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from signaling import metrics
from signaling.limits import METRICS_RUNS_MAX
from signaling.messages import CODES, Evaluation
from signaling.registry import CreatedRun
from tests.signaling.support import Site, new_run, site


async def figures(server: Site) -> dict[str, float]:
    """Scrape, and give each sample under its name and label values."""
    async with server.session.get(f"{server.url}/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == metrics.CONTENT_TYPE
        text = await response.text()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("meshlearn_signaling_")
            found[" ".join([name, *sample.labels.values()])] = sample.value
    return found


async def test_the_figures_follow_what_happens(server: Site, run: CreatedRun) -> None:
    before = await figures(server)
    assert before["connections"] == 0
    assert before["runs open"] == 1
    assert all(before[f"refused_total {code}"] == 0 for code in CODES)
    owner, member = await server.joined(run, owner=True), await server.joined(run)
    await member.send({"type": "report", "samples_per_second": 12.5})
    await member.ask({"type": "dance"})
    await member.send({"type": "decline", "to": owner.peer, "session": "s"})
    await owner.receive()
    await owner.ask({"type": "evaluation", "time_s": 1, "accuracy": 0.75, "loss": 0.5, "disagreement": 0.01})
    after = await figures(server)
    expected = {
        "connections": 2,
        "connections_opened_total": 2,
        "messages_total join": 2,
        "messages_total malformed": 1,
        "refused_total bad_message": 1,
        "peers tracker": 1,
        "peers python": 1,
        f"run_peers {run.run}": 2,
        f"run_accuracy {run.run}": 0.75,
        f"run_loss {run.run}": 0.5,
        f"run_disagreement {run.run}": 0.01,
        f"run_samples_per_second {run.run}": 12.5,
    }
    assert {name: after.get(name) for name in expected} == expected
    assert after["relayed_bytes_total"] > 50
    assert after["sockets"] >= 3


async def test_a_page_of_another_site_is_counted(server: Site) -> None:
    async with server.session.get(f"{server.url}/ws", headers={"Origin": "http://evil.example"}) as response:
        assert response.status == 403
    assert (await figures(server))["cut_total origin"] == 1


async def test_runs_that_are_private_are_not_named(state_dir: Path) -> None:
    private = new_run(state_dir, private=True)
    async with site(state_dir) as server:
        await server.joined(private)
        found = await figures(server)
        assert found["peers python"] == 1
        assert not any(private.run in name for name in found)


async def test_the_number_of_series_is_bounded(state_dir: Path) -> None:
    runs = [new_run(state_dir) for _ in range(METRICS_RUNS_MAX + 5)]
    async with site(state_dir) as server:
        state = server.server.registry
        for created in runs:
            await server.joined(created)
            run = state.get(created.run)
            assert run is not None
            state.append_evaluation(run, Evaluation(time_s=1, accuracy=0.5))
        found = await figures(server)
        assert sum(name.startswith("run_accuracy ") for name in found) == METRICS_RUNS_MAX
        assert found["runs open"] == METRICS_RUNS_MAX + 5


async def test_the_server_says_that_it_is_well(server: Site) -> None:
    async with server.session.get(f"{server.url}/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
