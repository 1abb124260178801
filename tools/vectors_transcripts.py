"""The files transcripts_*.json: which cases are in which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vectors_exchanges as exchanges
import vectors_links as links
import vectors_meshes as meshes
import vectors_models as models
import vectors_refreshes as refreshes
from vectors_cases import Case


def files() -> dict[str, dict[str, Any]]:
    """Return the content of each file by its name."""
    groups: dict[str, list[Callable[[], list[Case]]]] = {
        "links": [links.starts, links.crossing, links.full, links.greetings, links.ends, links.refusals],
        "refreshes": [refreshes.replaces, refreshes.waits, refreshes.shrinks, refreshes.finds_nobody, refreshes.is_replaced],
        "models": [models.newcomers, models.slow_pulls, models.given_up, models.stale, models.trackers],
        "exchanges": [
            exchanges.begins,
            exchanges.serves,
            exchanges.widens,
            exchanges.repeats,
            exchanges.rations,
            exchanges.judged,
            exchanges.diverges,
        ],
        "meshes": [meshes.two_peers, meshes.lossy_pair, meshes.codecs],
    }
    return {
        f"transcripts_{name}.json": {"kind": "transcripts", "cases": [case for make in made for case in make()]}
        for name, made in groups.items()
    }
