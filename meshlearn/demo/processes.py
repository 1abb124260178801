"""Child processes that print JSON lines: started in sessions of their own, read line by line, ended by id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from meshlearn.cli.parent import END_WITH_STDIN

# A line of status is about 1 KiB; a longer one than this is left out.
LINE_BYTES_MAX: Final = 65_536
STOP_GRACE_S: Final = 15.0


class Child:
    """`python -m meshlearn ...` as a process; `last` holds the last object of each kind of event that it printed."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        log: Path,
        on_line: Callable[[Child, dict[str, Any]], None] = lambda child, fields: None,
    ) -> None:
        """Standard error goes to the file `log`; `on_line` hears each JSON object on the event loop."""
        self.name = name
        self.last: dict[str, dict[str, Any]] = {}
        self._arguments = arguments
        self._log = log
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Start the process. Ctrl-C in the terminal does not reach it: whoever started it ends it in good order.

        Should this process end without doing so, the child ends, too: its standard input closes.
        """
        # One core for each: the processes are the parallelism, and BLAS threads of all of them would fight over the cores.
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with self._log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "meshlearn",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **threads, "PYTHONUNBUFFERED": "1", END_WITH_STDIN: "1"},
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
                fields = json.loads(line) if line else None
            except ValueError:  # no JSON, or a line that is too long
                continue
            if fields is None:
                break
            if isinstance(fields, dict) and isinstance(fields.get("event"), str):
                self.last[fields["event"]] = fields
                self._on_line(self, fields)
                self._wake()
        await process.wait()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `condition` holds, looked at after each line and at the end; False where it does not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition() and self.running:
                    await self._changed.wait()
        return condition()

    @property
    def process_id(self) -> int | None:
        """The operating system's id of the process; None before the start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """Exit code; None while it runs."""
        return self._process.returncode if self._process else None

    def complaint(self) -> str:
        """Return, for a person, the last line of standard error, or the signal that ended the process."""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].removeprefix("meshlearn: ")
        if self.exit_code is not None and self.exit_code < 0:
            return f"it was ended by {signal.Signals(-self.exit_code).name}"
        return "it said nothing"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal where the process runs."""
        if self._process is not None and self.running:
            # Not the process's own send_signal: that of asyncio first asks whether the process has ended, and so takes its exit
            # code away from the loop, which then reports 255.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self.signal(getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows knows only one way to end a process

    async def stop(self) -> None:
        """Ask the process to end (SIGTERM), wait, and kill it if it does not; everything that it printed has been read then."""
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_GRACE_S)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()
        await self.drained()

    async def drained(self) -> None:
        """Wait until the process has closed its output and all of it has been read."""
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
