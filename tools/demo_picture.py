"""Make docs/images/demo.svg: what `make demo` shows, taken from a real demo.

    python -m tools.demo_picture

Runs the demo with --json, draws its last screen with the same code that draws the terminal, and writes it as SVG.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from meshlearn.demo import view
from meshlearn.demo.main import DemoOptions

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.svg"
WIDTH = 104


def main() -> None:
    """Run the demo and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "meshlearn", "demo", "--json", "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
    link = next(line["link"] for line in lines if line["event"] == "link")
    history = [line for line in lines if line["event"] == "evaluation"]
    summary = next(line for line in lines if line["event"] == "summary")
    living = [line["peers"] for line in lines if line["event"] == "peers" and all(peer.get("links") for peer in line["peers"])]
    accuracy = history[-1]["peer_accuracy"]
    rows = [view.Row(peer["name"], "", peer, None, accuracy.get(peer["peer"])) for peer in living[-1]]
    steps = min(status["steps"] for status in summary["peers"])
    options = DemoOptions()
    panel = view.run_panel(history, options.goal, options.step_limit, steps, summary["seconds"], WIDTH)
    note = Text(f"join with  meshlearn join '{link}'", style="dim", no_wrap=True, overflow="ellipsis")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    title = f"meshlearn demo: Handwritten digits, run {summary['run']}"
    console.print(view.screen(title, view.peers_table(rows, WIDTH, 40), panel, note))
    svg = console.export_svg(title="make demo", theme=MONOKAI)
    # The picture must not fetch a font from anywhere.
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
