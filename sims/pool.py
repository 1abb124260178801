"""Runs many scenarios: in this process, in others of this machine, or on a Dask cluster; what is finished is never lost.

A cell is pure: the same scenario gives the same result wherever it runs. Each of the ways here yields cells as they finish, and
asks `stop` in between: 0 to go on, 1 to begin no more cells, 2 to drop those under way too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from typing import Any

from meshlearn.errors import SettingsError, UserError
from sims.scenario import Scenario
from sims.simulation import simulate

POLL_S = 0.2
Outcome = dict[str, Any]
Stop = Callable[[], int]


@dataclass(frozen=True)
class Job:
    """A scenario to run; `title` is what an error calls it, `digest` what tells it from the others."""

    title: str
    digest: str
    scenario: Scenario


def run_cell(plain: dict[str, Any], drop: Callable[[], bool] | None = None) -> Outcome | None:
    """Run one cell, given as plain values so that any process can; return its summary and series, None where it was dropped."""
    result = simulate(Scenario.from_plain(plain), pause=drop)
    return {"summary": result.summary(), "series": result.series} if result.complete else None


def outcomes(jobs: Sequence[Job], processes: int, scheduler: str | None, stop: Stop) -> Iterator[tuple[Job, Outcome]]:
    """Yield each job with its outcome as it finishes: on a Dask `scheduler`, or in so many processes (0: one a core).

    Raises UserError that names the job where one cannot be run.
    """
    if not jobs:
        return
    count = min(processes or os.cpu_count() or 1, len(jobs))
    if scheduler is not None:
        yield from _on_dask(jobs, scheduler, stop)
    elif count == 1:
        yield from _here(jobs, stop)
    else:
        yield from _in_processes(jobs, count, stop)


@contextmanager
def _named(job: Job) -> Iterator[None]:
    try:
        yield
    except UserError as problem:
        raise SettingsError(f"{job.title}: {problem}") from None
    except (BrokenProcessPool, CancelledError):
        raise UserError(
            f"What ran {job.title} has died, perhaps for want of memory; what is finished is kept. "
            "Give the command again, with fewer --processes."
        ) from None
    except Exception as problem:
        problem.add_note(f"in {job.title}")
        raise


def _here(jobs: Sequence[Job], stop: Stop) -> Iterator[tuple[Job, Outcome]]:
    for job in jobs:
        if stop():
            return
        with _named(job):
            outcome = run_cell(job.scenario.to_plain(), lambda: stop() >= 2)
        if outcome is None:
            return
        yield job, outcome


def _in_processes(jobs: Sequence[Job], count: int, stop: Stop) -> Iterator[tuple[Job, Outcome]]:
    waiting = iter(jobs)
    under_way: dict[Future[Outcome | None], Job] = {}
    before = set(active_children())
    # A fresh interpreter a worker: nothing of this process leaks into a cell.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin_worker) as pool:
        while True:
            # No more than run at once: what waits in the pool could not be taken back.
            while len(under_way) < count and not stop() and (job := next(waiting, None)) is not None:
                with _deaf_to_interrupts():
                    under_way[pool.submit(run_cell, job.scenario.to_plain())] = job
            if not under_way:
                return
            ready, _ = wait(under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in ready:
                job = under_way.pop(future)
                with _named(job):
                    outcome = future.result()
                if outcome is not None:
                    yield job, outcome
            if stop() >= 2:
                for worker in set(active_children()) - before:
                    worker.terminate()
                return


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes within it: Ctrl-C, which the terminal sends to all of them, is this process' business alone."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # It would be started with the first worker, and take the block off.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _on_dask(jobs: Sequence[Job], scheduler: str, stop: Stop) -> Iterator[tuple[Job, Outcome]]:
    try:
        import distributed
    except ImportError:
        raise SettingsError("A Dask scheduler needs the extra cluster: pip install 'meshlearn[cluster]'.") from None
    dask: Any = distributed
    try:
        client = dask.Client(scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as problem:
        raise SettingsError(f"There is no Dask scheduler at {scheduler}: {problem}.") from None
    with client:
        # A worker that dies is made good by another.
        futures = {client.submit(run_cell, job.scenario.to_plain(), key=f"cell-{job.digest}"): job for job in jobs}
        finished = dask.as_completed(list(futures))
        while not finished.is_empty():
            for future in finished.next_batch(block=False):
                with _named(futures[future]):
                    outcome = future.result()
                yield futures.pop(future), outcome
            if stop():
                client.cancel(list(futures))
                return
            time.sleep(POLL_S)
