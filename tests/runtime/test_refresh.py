"""Live nodes whose views are refreshed all the time: links come and go under the exchanges, and nothing is lost."""

from __future__ import annotations

import asyncio

import numpy as np

from meshlearn.protocol import events
from tests.runtime.hub import PARAMETERS, Mesh, until
from tests.runtime.virtual import run_virtual

NODES, VIEW = 10, 3
UNJUDGED = {"clip_factor": 1e6, "norm_factor": 1e6}


def test_a_refresh_loses_no_exchange_and_keeps_the_mean():
    async def story() -> None:
        async with Mesh(view_size=VIEW, refresh_interval_s=10.0, **UNJUDGED) as mesh:
            nodes = [mesh.node() for _ in range(NODES)]
            for node in nodes:
                await node.start()
            await until(lambda: all(node.peer.ready and len(node.peer.links) >= VIEW for node in nodes))
            peers = [node.peer for node in nodes]
            first = {frozenset((peer.config.peer_id, link.peer)) for peer in peers for link in peer.links.values()}
            vectors = np.random.default_rng(1).standard_normal((NODES, PARAMETERS)).astype(np.float32)
            for node, vector in zip(nodes, vectors, strict=True):
                # What has absorbed no step takes part in no exchange: until now there was none.
                node.peer.replica.vector[:] = vector
                node._handle(events.Stepped(1, 1))

            def total(name: str) -> int:
                return sum(getattr(peer.counters, name) for peer in peers)

            await until(lambda: total("links_replaced") >= 40, 600.0)
            assert all(VIEW - 1 <= len(peer.links) <= 2 * VIEW for peer in peers)
            later = {frozenset((peer.config.peer_id, link.peer)) for peer in peers for link in peer.links.values()}
            assert len(first & later) < len(first)
            # What is under way comes to its end, and nothing new begins.
            for peer in peers:
                peer._exchange_at = np.inf
            await asyncio.sleep(2.0)
            abandoned = total("exchanges_abandoned")
            assert total("exchanges_accepted") == 2 * (total("exchanges_begun") - total("exchanges_declined") - abandoned)
            assert total("exchanges_resent") == total("exchanges_refused") == 0
            # A request that a Goodbye meets half way is given up, and its token spent on another.
            assert abandoned < 0.01 * total("exchanges_begun")
            assert all(peer.tokens >= 9.0 for peer in peers)
            after = np.stack(mesh.vectors()).astype(np.float64)
            np.testing.assert_allclose(after.mean(axis=0), vectors.astype(np.float64).mean(axis=0), atol=1e-5)
            assert after.std(axis=0).max() < 1e-3

    run_virtual(story())
