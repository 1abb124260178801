"""Runs an asyncio command: uvloop where there is one, and SIGINT or SIGTERM as an event instead of a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

_Result = TypeVar("_Result")
_NOISY: Final = {"aiortc", "aioice"}
_log = logging.getLogger(__name__)


def run_live(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end on uvloop (asyncio's own loop on Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_without_noise(main))
    return uvloop.run(_without_noise(main))


async def _without_noise(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `main`; what the WebRTC library's own tasks stumble over while a connection closes is no news for a terminal."""

    def hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("future") or context.get("task")
        coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
        file = getattr(getattr(coroutine, "cr_code", None), "co_filename", "")
        if set(Path(file).parts) & _NOISY:
            _log.debug("%s", context.get("message"), exc_info=context.get("exception"))
        else:
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(hear)
    return await main


@contextlib.contextmanager
def on_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """Call `call` on the loop at SIGINT or SIGTERM, as often as they come, while the context lasts."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous: dict[signal.Signals, Any] = {}
    for number in numbers:
        try:
            loop.add_signal_handler(number, call)
        except NotImplementedError:  # Windows
            previous[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(call))
    try:
        yield
    finally:
        for number in numbers:
            if number in previous:
                signal.signal(number, previous[number])
            else:
                loop.remove_signal_handler(number)
