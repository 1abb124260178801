"""A world in virtual time: machines that come and go, train, and are measured. What they say is a method's business.

`MeshWorld` (sims/mesh.py) is the method that drives the real protocol; the baselines (sims/baselines) are the others.
"""

from __future__ import annotations

import itertools
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from meshlearn.learning.engine_numpy import NumpyEngine
from sims.arrivals import arrival_times, read_availability
from sims.clock import Clock, Op
from sims.kernels import BatchedEngine
from sims.network import BITS_A_BYTE, Network
from sims.node import ASLEEP, OFFLINE, ONLINE, Node
from sims.pages import LargePages
from sims.scenario import Exit, PeerClass, Scenario
from sims.seeds import Seeds
from sims.tasks import Floats, Task, make_task
from sims.trace import Trace
from sims.training import Training

EVALUATION_BATCH = 500
ROWS_A_CHUNK = 2_048
# What the evaluation of all peers' own models may take in the end: some seconds.
MULTIPLICATIONS_MAX = 10**11
STRENGTHS = {"scale": 100.0, "flip-signs": 4.0, "noise": 1.0}


class World(ABC):
    """One run of one scenario. `run` advances it; the series and the trace tell what happened."""

    def __init__(self, scenario: Scenario, *, batched: bool = True, checked: bool = True) -> None:
        self.scenario = scenario
        self.seeds = Seeds(scenario.seed)
        self.clock = Clock()
        self.network = Network(scenario, self.clock, self.seeds)
        self.task: Task = make_task(scenario, self.seeds)
        self.trace = Trace()
        self.checked = checked
        self.finished = False
        self.series: list[dict[str, float]] = []
        self._chance = self.seeds.child("world").stream()
        self._measure_chance = self.seeds.child("evaluation").stream()
        peers, parameters = scenario.peers, self.task.parameter_count
        self.vectors: Floats = np.empty((peers, parameters), np.float32)
        self.vectors[:] = self.task.initial
        self.training: Training | None = None
        self._judge: NumpyEngine | None = None
        self._many: BatchedEngine | None = None
        self._test_inputs: Floats = np.empty((0, 0), np.float32)
        self._last_own: tuple[float, dict[int, float]] | None = None
        if self.task.spec is not None and self.task.train is not None:
            run = scenario.run
            self.training = Training(self.task, run.optimiser, run.batch_size, peers, self.seeds.child("training"), batched)
            self._judge = NumpyEngine(self.task.spec, EVALUATION_BATCH, self.task.train.scale)
        self.nodes = [self._make_node(number) for number in range(peers)]
        self.online: list[int] = []
        self._assign_classes()
        self._assign_attacks()
        self._handlers: list[Callable[[Any, Any, Any], None]] = [self._unknown] * len(Op)
        self._handlers[Op.STEP] = self._step
        self._handlers[Op.JOIN] = self._join
        self._handlers[Op.LEAVE] = self._leave
        self._handlers[Op.CRASH] = self._exit
        self._handlers[Op.PARTITION] = self._cut
        self._handlers[Op.EVALUATE] = self._evaluate

    def start(self) -> None:
        """Schedule the arrivals, the faults and the first evaluation; call it once, before `run`."""
        scenario, clock = self.scenario, self.clock
        if scenario.availability:
            self._schedule_availability(Path(scenario.availability))
        else:
            self._schedule_arrivals()
        for index, partition in enumerate(scenario.partitions):
            clock.at(partition.at_s, Op.PARTITION, index)
        for index, entry in enumerate(scenario.exits):
            clock.at(entry.at_s, Op.CRASH, index)
        clock.at(min(scenario.evaluation.every_s, scenario.duration_s), Op.EVALUATE)

    def run(self, until: float | None = None, pause: Callable[[], bool] | None = None, events: int | None = None) -> bool:
        """Advance to that time (the scenario's end unless given); return whether it was reached.

        `pause` is asked every 256 events whether to stop early; `events` stops after so many.
        """
        end = self.scenario.duration_s if until is None else min(until, self.scenario.duration_s)
        clock, handlers, pop = self.clock, self._handlers, self.clock.pop
        pages = LargePages()
        pages.look()
        budget = math.inf if events is None else events
        done = 0
        try:
            while done < budget:
                entry = pop(end)
                if entry is None:
                    break
                _, _, op, one, two, three = entry
                handlers[op](one, two, three)
                done += 1
                if not done & 255:
                    if not done & 65_535:
                        pages.look()
                    if pause is not None and pause():
                        return False
            else:
                return False
        except Exception as problem:
            problem.add_note(f"at {clock.now:.9g} s of virtual time, seed {self.scenario.seed}")
            raise
        clock.now = end
        if end >= self.scenario.duration_s:
            self.finished = True
        return True

    # -- machines -----------------------------------------------------------------------------------------------------

    def _make_node(self, number: int) -> Node:
        branch = self.seeds.child("machine", number)
        return Node(number, 0, branch.child("id").bytes(), branch.generator())

    def _assign_classes(self) -> None:
        order = self.seeds.child("classes").numpy().permutation(len(self.nodes)).tolist()
        begin, total = 0, 0.0
        for kind, entry in enumerate(self.scenario.classes):
            total += entry.share
            end = round(total * len(order))
            for number in order[begin:end]:
                self._outfit(self.nodes[number], kind, entry)
            begin = end

    def _outfit(self, node: Node, kind: int, entry: PeerClass) -> None:
        draw = node.life.uniform
        node.kind = kind
        speed = entry.steps_per_s.draw(draw())
        node.step_s = 1.0 / speed if speed > 0 else math.inf
        node.up_bytes_per_s = entry.up_mbps * 1e6 / BITS_A_BYTE
        node.down_bytes_per_s = entry.down_mbps * 1e6 / BITS_A_BYTE
        node.read_bytes_per_s = entry.read_mbps * 1e6 / BITS_A_BYTE if entry.read_mbps else math.inf
        node.nat = entry.nat
        regions = list(self.scenario.latency.regions)
        node.region = regions.index(entry.region) if regions else 0
        node.clock_rate = 1.0 + entry.clock_skew * (2.0 * draw() - 1.0)
        # A clock never shows a negative time: offsets go both ways about a common one.
        node.clock_offset_s = entry.clock_offset_s * 2.0 * draw()

    def _assign_attacks(self) -> None:
        """Make so many of the machines hostile as the shares say, rounded, but at least one of each share that is not 0."""
        order = self.seeds.child("hostile").numpy().permutation(len(self.nodes)).tolist()
        begin, total = 0, 0.0
        for entry in self.scenario.hostile:
            total += entry.share
            end = max(begin + 1, round(total * len(order))) if entry.share else begin
            for number in order[begin:end]:
                self.nodes[number].attack = entry.attack
                self.nodes[number].strength = entry.strength or STRENGTHS.get(entry.attack, 0.0)
            begin = max(begin, end)

    # -- coming and going ---------------------------------------------------------------------------------------------

    def _schedule_arrivals(self) -> None:
        for node, arrival in zip(self.nodes, arrival_times(self.scenario, self.seeds), strict=True):
            time = arrival
            entry = self.scenario.classes[node.kind]
            if entry.online_at_start < 1.0 and node.life.uniform() >= entry.online_at_start and entry.absence_s is not None:
                # What is left of an absence, seen from a moment that somebody else chose.
                time += entry.absence_s.draw(node.life.uniform()) * node.life.uniform()
            self.clock.at(time, Op.JOIN, node.number, node.token)

    def _schedule_availability(self, path: Path) -> None:
        for number, on, off in read_availability(path, len(self.nodes)):
            self.clock.at(on, Op.JOIN, number, -1)
            self.clock.at(off, Op.LEAVE, number, -1)

    def _join(self, number: int, token: int, _: Any) -> None:
        node = self.nodes[number]
        if (token not in (-1, node.token)) or node.state == ONLINE:
            return
        self.trace.add(self.clock.now, Op.JOIN, number)
        slept = node.state == ASLEEP
        node.state = ONLINE
        node.since = self.clock.now
        if node.born_at < 0:
            node.born_at = self.clock.now
        node.place = len(self.online)
        self.online.append(number)
        entry = self.scenario.classes[node.kind]
        node.stay += 1
        if not slept:
            node.token += 1
            node.sessions += 1
            node.up_free_at = node.down_free_at = self.clock.now
        if entry.session_s is not None and token != -1:
            self.clock.at(self.clock.now + entry.session_s.draw(node.life.uniform()), Op.LEAVE, number, node.token, node.stay)
        if slept:
            self.woke(node)
        else:
            self.entered(node)

    def _leave(self, number: int, token: int, stay: int | None) -> None:
        node = self.nodes[number]
        entry = self.scenario.classes[node.kind]
        if token == -1 and node.state != ONLINE:
            # An imported trace switches it off: it does not wake, nor come back from an exit, of itself.
            if node.state == ASLEEP:
                self._gone(node, False, entry.absence == "restart")
            node.token += 1
            return
        # Whoever fell asleep before its time has had another one since it woke.
        if node.state != ONLINE or (token != -1 and (token, stay) != (node.token, node.stay)):
            return
        polite = node.life.uniform() < entry.polite
        back_after_s = None
        if entry.absence_s is not None and token != -1:
            back_after_s = entry.absence_s.draw(node.life.uniform())
        self._depart(node, polite, entry.absence, back_after_s)

    def _depart(self, node: Node, polite: bool, absence: str, back_after_s: float | None) -> None:
        now = self.clock.now
        self.trace.add(now, Op.LEAVE, node.number)
        last = self.online.pop()
        if last != node.number:
            self.online[node.place] = last
            self.nodes[last].place = node.place
        node.place = -1
        node.online_s += now - node.since
        if absence == "sleep" and back_after_s is not None:
            node.state = ASLEEP
            node.wakes_at = now + back_after_s
            self.clock.at(node.wakes_at, Op.JOIN, node.number, node.token)
            return
        self._gone(node, polite, absence == "restart")
        if back_after_s is not None:
            self.clock.at(now + back_after_s, Op.JOIN, node.number, node.token)

    def _gone(self, node: Node, polite: bool, keeps: bool) -> None:
        self.departed(node, polite, keeps)
        node.state = OFFLINE
        node.token += 1
        node.training = False
        node.ready = False

    def _exit(self, index: int, _: Any, __: Any) -> None:
        entry: Exit = self.scenario.exits[index]
        chosen = self._some_of(sorted(self.online), round(entry.share * len(self.online)))
        for number in chosen:
            self._depart(self.nodes[number], entry.polite, entry.absence, entry.back_after_s or None)

    def _cut(self, index: int, _: Any, __: Any) -> None:
        entry = self.scenario.partitions[index]
        self.trace.add(self.clock.now, Op.PARTITION, index)
        for node in self.nodes:
            node.group = 0
        ends = [round(share * len(self.nodes)) for share in itertools.accumulate(entry.shares[1:])]
        cut_off = self._some_of(list(range(len(self.nodes))), ends[-1])
        for part, (begin, end) in enumerate(itertools.pairwise([0, *ends]), 1):
            for number in cut_off[begin:end]:
                self.nodes[number].group = part
        self.network.heals_at = entry.heal_s

    def _some_of(self, numbers: list[int], count: int) -> list[int]:
        """Return `count` of the numbers at random; the list is used up."""
        for index in range(min(count, len(numbers))):
            other = index + self._chance.below(len(numbers) - index)
            numbers[index], numbers[other] = numbers[other], numbers[index]
        return numbers[:count]

    @abstractmethod
    def entered(self, node: Node) -> None:
        """A machine has come online, with nothing of an earlier session but what `departed` kept."""

    @abstractmethod
    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """A machine goes offline, with a word or without; `keeps` where its model will be there when it returns."""

    def woke(self, node: Node) -> None:  # noqa: B027 - most methods need nothing
        """A machine that slept runs again."""

    # -- training -----------------------------------------------------------------------------------------------------

    def begin_training(self, node: Node) -> None:
        """Let the machine take steps, one after the other, from now on."""
        if self.training is None or node.training or node.step_s == math.inf:
            return
        node.training = True
        self._begin_step(node)

    def _begin_step(self, node: Node) -> None:
        assert self.training is not None
        self.training.begin(node.number, self.vectors[node.number])
        self.clock.at(self.clock.now + node.step_s, Op.STEP, node.number, node.token)

    def _step(self, number: int, token: int, _: Any) -> None:
        node = self.nodes[number]
        if node.token != token or not node.training:
            return
        if node.state == ASLEEP:
            self.clock.at(node.wakes_at + node.step_s, Op.STEP, number, token)
            return
        self.trace.add(self.clock.now, Op.STEP, number)
        node.steps += 1
        if self.stepped(node):
            self._begin_step(node)

    def stepped(self, node: Node) -> bool:
        """End a step; return whether the next one begins at once."""
        assert self.training is not None
        self.training.finish(node.number, self.vectors[node.number])
        return True

    # -- measuring ----------------------------------------------------------------------------------------------------

    def measured(self) -> list[int]:
        """Return the machines whose models count: online, with a model, and honest."""
        nodes = self.nodes
        return [number for number in sorted(self.online) if nodes[number].ready and not nodes[number].attack]

    def outcomes(self) -> dict[str, float]:
        """Return what the method counts, all machines together, since the start."""
        return {}

    def _evaluate(self, _: Any, __: Any, ___: Any) -> None:
        now = self.clock.now
        row = self.measure()
        self.series.append(row)
        self.trace.add(now, Op.EVALUATE, len(self.online), zlib.crc32(repr(row).encode()))
        every, end = self.scenario.evaluation.every_s, self.scenario.duration_s
        if now < end:
            # The last evaluation is at the end, whatever is left.
            self.clock.at(now + every if now + every <= end - 1e-9 * end else end, Op.EVALUATE)

    def measure(self) -> dict[str, float]:
        """Return one row of the series: what the world is like now."""
        rows = self.measured()
        training = self.training
        row: dict[str, float] = {
            "time_s": self.clock.now,
            "peers_online": len(self.online),
            "peers_ready": len(rows),
            "steps": training.steps if training else 0,
            "samples": training.samples if training else 0,
            "bytes": self.network.bytes_sent,
            "frames": self.network.frames_sent,
            "frames_lost": self.network.frames_lost,
            **self.outcomes(),
        }
        row.update(self._quality(rows))
        return row

    def _quality(self, rows: list[int]) -> dict[str, float]:
        names = ("accuracy", "loss", "accuracy_worst", "accuracy_median", "accuracy_best", "disagreement", "variance")
        if not rows:
            return {**dict.fromkeys(names, math.nan), "peers_evaluated": 0}
        mean, variance = self._moments(rows)
        moved = float(np.linalg.norm(mean - self.task.initial))
        quality = dict.fromkeys(names, math.nan)
        quality["variance"], quality["peers_evaluated"] = variance, 0
        quality["disagreement"] = math.sqrt(variance) / moved if moved else 0.0
        if self._judge is not None and self.task.test is not None:
            found = self._judge.evaluate(mean.astype(np.float32), self.task.test)
            quality["accuracy"], quality["loss"] = found.accuracy, found.loss
            own = list(self._own_accuracies(rows, self.clock.now >= self.scenario.duration_s).values())
            quality["accuracy_worst"], quality["accuracy_best"] = min(own), max(own)
            quality["accuracy_median"] = float(np.median(own))
            quality["peers_evaluated"] = len(own)
        return quality

    def _own_accuracies(self, rows: list[int], every: bool) -> dict[int, float]:
        """Return the accuracy of machines' own models, by number.

        Of a random sample of `evaluation.peers` of them; or of `every` one, as far as MULTIPLICATIONS_MAX allows.
        """
        assert self.task.test is not None
        assert self.task.spec is not None
        if every and self._last_own and self._last_own[0] == self.clock.now:
            return self._last_own[1]
        count = self.scenario.evaluation.peers
        examples = len(self.task.test)
        if every:
            count = max(count, MULTIPLICATIONS_MAX // (examples * self.task.parameter_count))
        if self._many is None:
            self._many = BatchedEngine(self.task.spec, examples)
            inputs = self.task.test.inputs.astype(np.float32)
            # As the engine does it: bytes are scaled.
            scale = self.task.train.scale if self.task.train is not None and self.task.test.inputs.dtype == np.uint8 else 1
            self._test_inputs = inputs / np.float32(scale) if scale != 1 else inputs
        chosen = self._sample(rows, count)
        found: dict[int, float] = {}
        for start in range(0, len(chosen), self._many.peers_per_call):
            numbers = chosen[start : start + self._many.peers_per_call]
            correct = self._many.correct(self.vectors[numbers], self._test_inputs, self.task.test.labels)
            found.update(zip(numbers, (correct / examples).tolist(), strict=True))
        if every:
            self._last_own = (self.clock.now, found)
        return found

    def _sample(self, rows: list[int], count: int) -> list[int]:
        if count >= len(rows):
            return rows
        rows = list(rows)
        for index in range(count):
            other = index + self._measure_chance.below(len(rows) - index)
            rows[index], rows[other] = rows[other], rows[index]
        return rows[:count]

    def _moments(self, rows: list[int]) -> tuple[np.ndarray, float]:
        """Return the mean vector, float64, and the mean of ||x_i - mean||^2."""
        chosen = np.array(rows)
        total = np.zeros(self.task.parameter_count)
        for start in range(0, len(chosen), ROWS_A_CHUNK):
            total += self.vectors[chosen[start : start + ROWS_A_CHUNK]].sum(axis=0, dtype=np.float64)
        mean = total / len(chosen)
        squares = 0.0
        for start in range(0, len(chosen), ROWS_A_CHUNK):
            apart = self.vectors[chosen[start : start + ROWS_A_CHUNK]] - mean
            squares += float(np.einsum("ij,ij->", apart, apart))
        return mean, squares / len(chosen)

    def peers_table(self) -> list[dict[str, Any]]:
        """Return one row a machine: its class, how long it was there, what it did, and how good its model is at the end."""
        table = []
        measured = self.measured()
        accuracies = self._own_accuracies(measured, True) if measured and self._judge is not None else {}
        for node in self.nodes:
            online_s = node.online_s + (self.clock.now - node.since if node.online else 0.0)
            table.append(
                {
                    "peer": node.number,
                    "class": self.scenario.classes[node.kind].name,
                    "hostile": node.attack,
                    "first_seen_s": node.born_at if node.born_at >= 0 else math.nan,
                    "sessions": node.sessions,
                    "online_s": online_s,
                    "online_at_end": int(node.online),
                    "steps_per_s": 1.0 / node.step_s,
                    "steps": node.steps,
                    "accuracy": accuracies.get(node.number, math.nan),
                    **self.peer_outcomes(node),
                }
            )
        return table

    def peer_outcomes(self, node: Node) -> dict[str, float]:
        """Return what the method counts of one machine."""
        return {}

    def _unknown(self, one: Any, two: Any, three: Any) -> None:
        raise AssertionError("an operation came up that this method does not know")
