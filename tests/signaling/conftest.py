"""What the tests of the server share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from signaling.registry import CreatedRun
from tests.signaling.support import Site, new_run, site


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on both loops that the server runs on: uvloop's transports are not quite asyncio's."""
    try:
        import uvloop
    except ImportError:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


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
