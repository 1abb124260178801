"""An event loop with a clock of its own, for tests of what takes minutes: idle, it jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Selector(selectors.DefaultSelector):
    """Never waits for time, only for what really comes (from threads) when there is no timer at all."""

    slept_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(timeout if timeout is None else 0)
        if not ready and timeout:
            self.slept_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time begins at 1,000 s and passes only in sleeping."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)
        self.faults: list[dict[str, Any]] = []
        self.set_exception_handler(lambda loop, context: self.faults.append(context))

    def time(self) -> float:
        return 1000.0 + self.selector.slept_s


def run_virtual(story: Coroutine[Any, Any, Result]) -> Result:
    """Run a story to its end; anything that the loop's exception handler hears of fails it."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        result = runner.run(story)
        assert not loop.faults, loop.faults
        return result
