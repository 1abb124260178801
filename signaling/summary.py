"""What people see of the runs: who is there, how far they are. As JSON at /api/runs, and for the pages."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

from aiohttp import web

from signaling import strict_json
from signaling.errors import StorageError
from signaling.limits import CURVE_POINTS_MAX, RUNS_LISTED_MAX, SUMMARY_AGE_S
from signaling.registry import Registry, Run
from signaling.rooms import Rooms
from signaling.shards import Body, bearer, failure, send_body, unauthorized


class Summaries:
    """Makes the summaries, each at most once a second however many people watch."""

    def __init__(self, registry: Registry, rooms: Rooms, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._rooms = rooms
        self._clock = clock
        self._list: tuple[float, list[dict[str, Any]]] | None = None
        self._one: dict[str, tuple[float, dict[str, Any]]] = {}

    def add_to(self, app: web.Application) -> None:
        """Register the handlers."""
        app.router.add_get("/api/runs", self.list_runs)
        app.router.add_get("/api/runs/{run}", self.show_run)

    async def list_runs(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs: the newest public runs with small curves, open ones first."""
        body = strict_json.dumps({"runs": self.all()}).encode("ascii")
        return send_body(request, _tagged(body), content_type="application/json", cache="no-cache")

    async def show_run(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs/<run>: one run as it is now."""
        run = self._registry.get(request.match_info["run"])
        if run is None:
            return failure(404, "This server has no such run.")
        if not self._registry.may_read(run, bearer(request)):
            return unauthorized()
        body = strict_json.dumps(self.one(run)).encode("ascii")
        return send_body(request, _tagged(body), content_type="application/json", cache="no-cache")

    def all(self) -> list[dict[str, Any]]:
        """Give the newest public runs, at most RUNS_LISTED_MAX, open ones first, each with its curve."""
        now = self._clock()
        if self._list is None or now - self._list[0] >= SUMMARY_AGE_S:
            public = [run for run in self._registry.runs() if not run.facts.private][:RUNS_LISTED_MAX]
            public.sort(key=lambda run: run.state == "over")
            self._list = (now, [{**self.one(run), "curve": self._curve(run)} for run in public])
        return self._list[1]

    def one(self, run: Run) -> dict[str, Any]:
        """Give one run as it is now."""
        now = self._clock()
        name = run.facts.run
        known = self._one.get(name)
        if known is None or now - known[0] >= SUMMARY_AGE_S:
            if len(self._one) > 2 * RUNS_LISTED_MAX:
                self._one.clear()
            known = self._one[name] = (now, self._summary(run))
        return known[1]

    def _summary(self, run: Run) -> dict[str, Any]:
        facts = run.facts
        presence = self._rooms.presence(facts.run)
        try:
            history = self._registry.history(run)
        except StorageError:
            count, tag, last = 0, "0", None
        else:
            count, tag, last = len(history), history.tag, history.last
        return {
            "run": facts.run,
            "title": facts.title,
            "description": facts.description,
            "by": facts.by,
            "created": facts.created,
            "private": facts.private,
            "state": run.state,
            "reason": run.reason,
            "online": presence.online,
            "kinds": dict(presence.kinds),
            "samples_per_second": round(presence.samples_per_second, 1),
            "parameters": facts.parameters,
            "layers": list(facts.layers),
            "goal_accuracy": facts.goal_accuracy,
            "data": {
                "name": facts.data_name,
                "license": facts.data_license,
                "examples": facts.examples,
                "classes": facts.classes,
            },
            "evaluations": count,
            "history_tag": tag,
            "last": None if last is None else last.fields(),
        }

    def _curve(self, run: Run) -> list[list[float]]:
        """Give [time_s, accuracy] pairs for a small curve."""
        try:
            lines = self._registry.history(run).points(CURVE_POINTS_MAX)
        except StorageError:
            return []
        points = [json.loads(line) for line in lines]
        return [[point["time_s"], point["accuracy"]] for point in points if "time_s" in point and "accuracy" in point]


def _tagged(data: bytes) -> Body:
    return Body.of(data, f"{len(data)}-{zlib.crc32(data):08x}")
