"""A process that others start: it ends when they do, however they end, because its standard input then closes."""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

# Set by the process that starts it; a shell never does.
END_WITH_STDIN: Final = "MESHLEARN_END_WITH_STDIN"


def end_with_stdin_if_told() -> None:
    """End in good order, as at SIGTERM, when standard input closes, where the environment says so."""
    if os.environ.pop(END_WITH_STDIN, ""):
        threading.Thread(target=_wait, name="meshlearn-stdin", daemon=True).start()


def _wait() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
