"""How much a sink is told: a bound per minute, and on what is on its way."""

from __future__ import annotations

from collections import deque

import msgspec

from anomaly_app.delivery.routes import Way

MINUTE = 60_000
MOST_OUTSTANDING = 100
"""Notifications that are on their way to one sink; others wait in their groups, so that a dead sink takes no memory."""


class Outlet:
    """What goes to one sink.

    Args:
        way: the sink.

    Attributes:
        held: keys of groups that have something to tell and may not yet, in the order in which they were held back.
        digests: how many digests there have been.
        outstanding: notifications that are on their way.
        changed: there is something to store.
    """

    __slots__ = ("_times", "changed", "digests", "held", "outstanding", "way")

    def __init__(self, way: Way) -> None:
        self.way = way
        self.held: dict[str, None] = {}
        self.digests = self.outstanding = 0
        self.changed = False
        self._times: deque[int] = deque()

    def free_at(self, now_ms: int) -> int | None:
        """When it takes a notification, in ms since 1970; None if something must be settled before."""
        if self.outstanding >= MOST_OUTSTANDING:
            return None
        most = self.way.max_per_minute
        if not most or self.left(now_ms):
            return now_ms
        return self._times[len(self._times) - most] + MINUTE

    def left(self, now_ms: int) -> int:
        """How many notifications it takes now, as far as the bound on them goes."""
        while self._times and self._times[0] + MINUTE <= now_ms:
            self._times.popleft()
        return max(0, self.way.max_per_minute - len(self._times))

    def sent(self, now_ms: int) -> None:
        """A notification goes to it."""
        self.outstanding += 1
        if self.way.max_per_minute:
            self._times.append(now_ms)
            self.changed = True

    @property
    def key(self) -> bytes:
        """Of its entry in the state."""
        return f"w/{self.way.name}".encode()

    def entry(self) -> bytes:
        """What is stored of it."""
        self.changed = False
        return msgspec.msgpack.encode((self.digests, list(self._times)))

    def restore(self, entry: bytes) -> None:
        """Take back what is stored."""
        self.digests, times = msgspec.msgpack.decode(entry, type=tuple[int, list[int]])
        self._times = deque(times)
