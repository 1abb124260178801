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

# A line of status is about 1 KiB.
LINE_BYTES_MAX: Final = 65_536
STOP_GRACE_S: Final = 15.0


class Child:
    """`python -m meshlearn ...` as a process; `last` holds the last object of each kind of event that it printed."""

    def __init__(self, name: str, arguments: list[str], log: Path, on_line: Callable[[Child, dict[str, Any]], None]) -> None:
        """Standard error goes to the file `log`; `on_line` hears each JSON object on the event loop."""
        self.name = name
        self.last: dict[str, dict[str, Any]] = {}
        self._arguments = arguments
        self._log = log
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process. Ctrl-C in the terminal does not reach it: whoever started it ends it in good order."""
        # One core for each: the processes are the parallelism, and BLAS threads of all of them would fight over the cores.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with self._log.open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "meshlearn",
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=environment,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                fields = json.loads(line)
                self.last[fields["event"]] = fields
                self._on_line(self, fields)

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
        """Return the last line of standard error, for a person."""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].removeprefix("meshlearn: ")
        return "it said nothing"

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        if self.running and self._process is not None:
            self._process.kill()

    async def stop(self) -> None:
        """Ask the process to end (SIGTERM), wait, and kill it if it does not; everything that it printed has been read then."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_GRACE_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        await self.drained()

    async def drained(self) -> None:
        """Wait until the process has closed its output and all of it has been read."""
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
