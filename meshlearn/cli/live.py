"""Runs an asyncio command: uvloop where there is one, and SIGINT or SIGTERM as an event instead of a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run_live(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end on uvloop (asyncio's own loop on Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


@contextlib.contextmanager
def on_interrupt(call: Callable[[], None]) -> Any:
    """Call `call` on the loop at SIGINT or SIGTERM, as often as they come, while the context lasts."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in signals:
            loop.add_signal_handler(number, call)
    except NotImplementedError:  # Windows: KeyboardInterrupt it is
        yield
        return
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
