"""What is not told now, and until when: silences, inhibition, mute intervals."""

from __future__ import annotations

from anomaly_app.delivery.decision import Decision
from anomaly_app.delivery.inhibition import Sources
from anomaly_app.delivery.members import Hidden
from anomaly_app.delivery.routes import Route
from anomaly_app.delivery.silences import Silences

STEP_MS, STEPS = 60_000, 15
"""Intervals begin and end with a minute; how far ahead is looked for the end of one."""


class Hiding:
    """Says of an alert whether it is told now.

    Args:
        silences: that are known.
        sources: of inhibition that are there.
    """

    def __init__(self, silences: Silences, sources: Sources) -> None:
        self._silences, self._sources = silences, sources
        self._muted: dict[str, tuple[int, int]] = {}

    def __call__(self, decision: Decision, route: Route, now_ms: int) -> tuple[Hidden, int]:
        """Why it is not told by a route, and until when at least; ``("", 0)`` if it is.

        Args:
            decision: on its labels.
            route: by which it came.
            now_ms: now, in ms since 1970.
        """
        until = decision.silenced_until(self._silences, now_ms)
        if until:
            return "silenced", until
        if decision.targets:
            held = self._sources.holding(decision.targets, now_ms)
            if held is not None:
                return "inhibited", held[1]
        until = self.muted_until(route, now_ms)
        return ("muted", until) if until else ("", 0)

    def muted_until(self, route: Route, now_ms: int) -> int:
        """Until when a route is muted at least, in ms since 1970; 0 if it is not."""
        if not (route.mute or route.active):
            return 0
        minute = now_ms - now_ms % STEP_MS
        at, until = self._muted.get(route.id, (-1, 0))
        if at == minute:
            return until
        until = 0
        for step in range(STEPS):
            if route.muted(minute + step * STEP_MS) is None:
                break
            until = minute + (step + 1) * STEP_MS
        self._muted[route.id] = minute, until
        return until
