"""Write tests/vectors/*.json of the wire, the peer and its identity: `python tools/make_vectors.py [directory]`.

The files are the same to the byte whenever the protocol is: the tests make them again and compare. tests/vectors/README.md
describes their layout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import vectors_identity
import vectors_transcripts
import vectors_wire

DIRECTORY = Path(__file__).resolve().parent.parent / "tests" / "vectors"


def files() -> dict[str, dict[str, Any]]:
    """Return the content of each file by its name."""
    return vectors_wire.files() | vectors_transcripts.files() | vectors_identity.files()


def rendered(content: dict[str, Any]) -> str:
    """Return the text of a file: a case in a line, so that a change shows as the cases that it changes."""
    head = {key: value for key, value in content.items() if key != "cases"}
    lines = [json.dumps(head, indent=1, ensure_ascii=True)[:-2] + ',\n "cases": [']
    cases = [json.dumps(case, ensure_ascii=True, allow_nan=False, separators=(",", ":")) for case in content["cases"]]
    return "\n".join(lines) + "\n  " + ",\n  ".join(cases) + "\n ]\n}\n"


def main() -> None:
    """Write every file."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    for name, content in files().items():
        text = rendered(content)
        (directory / name).write_text(text)
        print(f"{name:20} {len(content['cases']):4} cases {len(text) / 1024:8.1f} KiB")


if __name__ == "__main__":
    main()
