"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from signaling.registry import CreatedRun
from tests.signaling.support import Site, new_run, site


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(state_dir: Path) -> CreatedRun:
    return new_run(state_dir)


@pytest.fixture
async def server(run: CreatedRun, state_dir: Path) -> AsyncIterator[Site]:
    async with site(state_dir, ice_servers=[{"urls": "stun:stun.example.org"}]) as running:
        yield running
