"""The server's figures for Prometheus, with a registry of their own and a bounded number of series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from signaling.coding import CLIENT_TYPES
from signaling.errors import StorageError
from signaling.limits import METRICS_RUNS_MAX
from signaling.messages import CODES, KINDS
from signaling.registry import Registry, Run
from signaling.rooms import Rooms

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "meshlearn_signaling_"
_MESSAGE_TYPES: Final = (*CLIENT_TYPES, "malformed")
_CUT: Final = ("slow", "silent", "socket_limit", "origin")


class Traffic:
    """What the driver counts: bytes relayed between peers and connections that it cut, by reason."""

    __slots__ = ("cut", "relayed_bytes", "storage_errors")

    def __init__(self) -> None:
        self.relayed_bytes = 0
        self.storage_errors = 0
        self.cut: dict[str, int] = dict.fromkeys(_CUT, 0)


class Metrics(Collector):
    """Reads the counters when somebody scrapes; costs nothing in between.

    Labels come from fixed lists, but for the id of a run: the METRICS_RUNS_MAX public runs with the most peers.
    """

    def __init__(self, rooms: Rooms, registry: Registry, traffic: Traffic, sockets: Callable[[], int]) -> None:
        self._rooms = rooms
        self._registry = registry
        self._traffic = traffic
        self._sockets = sockets
        self._collectors = CollectorRegistry(auto_describe=False)
        self._collectors.register(self)

    def text(self) -> bytes:
        """Give all figures in Prometheus' text format."""
        return generate_latest(self._collectors)

    def collect(self) -> Iterable[Metric]:
        """Give the figures as they are now."""
        counters = self._rooms.counters
        yield GaugeMetricFamily(f"{_PREFIX}connections", "WebSocket connections, joined or not.", value=self._rooms.connections)
        yield GaugeMetricFamily(f"{_PREFIX}sockets", "TCP connections of any kind.", value=self._sockets())
        yield CounterMetricFamily(f"{_PREFIX}connections_opened", "WebSocket connections so far.", value=counters.connections)
        yield CounterMetricFamily(f"{_PREFIX}relayed_bytes", "Bytes relayed between peers.", value=self._traffic.relayed_bytes)
        yield CounterMetricFamily(f"{_PREFIX}storage_errors", "Writes that failed.", value=self._traffic.storage_errors)
        yield _counter("messages", "Messages received.", "type", _MESSAGE_TYPES, counters.messages)
        yield _counter("refused", "Messages and connections refused.", "code", CODES, counters.refused)
        yield _counter("cut", "Connections cut by the server.", "reason", _CUT, self._traffic.cut)
        runs = self._registry.runs()
        states = {"open": 0, "over": 0}
        for run in runs:
            states[run.state] += 1
        yield _gauge("runs", "Runs on disk.", "state", states)
        yield from self._of_runs(runs)

    def _of_runs(self, runs: list[Run]) -> Iterable[Metric]:
        present = {name: self._rooms.presence(name) for name in self._rooms.runs()}
        kinds = dict.fromkeys(KINDS, 0)
        for presence in present.values():
            for kind in KINDS:
                kinds[kind] += presence.kinds[kind]
        yield _gauge("peers", "Peers that have joined.", "kind", {str(kind): number for kind, number in kinds.items()})
        peers: dict[str, float] = {}
        rate: dict[str, float] = {}
        accuracy: dict[str, float] = {}
        loss: dict[str, float] = {}
        disagreement: dict[str, float] = {}
        inhabited = [run for run in runs if run.facts.run in present and not run.facts.private]
        inhabited.sort(key=lambda run: -present[run.facts.run].online)
        for run in inhabited[:METRICS_RUNS_MAX]:
            name = run.facts.run
            peers[name] = present[name].online
            rate[name] = present[name].samples_per_second
            try:
                last = self._registry.history(run).last
            except StorageError:
                continue
            if last is None:
                continue
            for values, value in (
                (accuracy, last.accuracy),
                (loss, last.loss),
                (disagreement, last.disagreement),
            ):
                if value is not None:
                    values[name] = value
        yield _gauge("run_peers", "Peers of a run.", "run", peers)
        yield _gauge("run_samples_per_second", "Training samples a second, as reported.", "run", rate)
        yield _gauge("run_accuracy", "Accuracy of the last evaluation, 0 to 1.", "run", accuracy)
        yield _gauge("run_loss", "Loss of the last evaluation.", "run", loss)
        yield _gauge("run_disagreement", "Relative disagreement at the last evaluation.", "run", disagreement)


def _counter(name: str, text: str, label: str, values: Iterable[str], counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{_PREFIX}{name}", text, labels=[label])
    for value in values:
        family.add_metric([value], counts.get(value, 0))
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
