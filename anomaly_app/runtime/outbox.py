"""Sending what was decided: a desk for each notifying sink, so that one that is dead delays nobody.

What is outstanding belongs to the dispatcher, which has at most one delivery for each group and sink; a desk only
refers to it. A few are being sent at a time, so that one that fails for long is passed by others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeAlias

from anomaly_app.delivery.notification import Notification
from anomaly_app.delivery.status import ToldStatus
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.undelivered import Undelivered
from anomaly_app.sinks.sender import Outcome, Sender

AT_ONCE = 32
"""Deliveries of one sink that are being sent, or wait to be sent again; all others wait for their turn."""
SWEEP_S = 15.0
"""How often what waits is looked at for what is to be given up."""
GRACE_S = 120.0
"""Beyond ``give_up_after``: an attempt that is being made may end by itself."""

Fate: TypeAlias = Literal["sent", "gave_up"]


class Outgoing(Protocol):
    """What the dispatcher has in its outbox."""

    @property
    def id(self) -> str:
        """Of the notification and the sink; the same after every restart."""
        ...

    @property
    def sink(self) -> str:
        """Receiver, kind and number, such as ``ops/slack/0``."""
        ...

    @property
    def notification(self) -> Notification:
        """What is told."""
        ...

    @property
    def since_ms(self) -> int:
        """When it was due, in ms since 1970."""
        ...


class Desk:
    """Sends the deliveries of one sink.

    Args:
        sender: of the sink; it tries again and gives up.
        give_up_after_ms: for those whose turn has not come.
        undelivered: takes what is given up.
        check: raises when this process may not send any more.
        settle: called with a delivery, its fate and why it was given up.
    """

    def __init__(
        self, sender: Sender, give_up_after_ms: int, undelivered: Undelivered, check: Callable[[], None],
        settle: Callable[[Outgoing, Fate, str], None],
    ) -> None:  # fmt: skip
        self.sender = sender
        self._give_up_after_ms, self._undelivered = give_up_after_ms, undelivered
        self._check, self._settle = check, settle
        self._waiting: dict[str, Outgoing] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        """Deliveries that are outstanding."""
        return len(self._waiting) + len(self._sending)

    def put(self, delivery: Outgoing) -> None:
        """A delivery that is stored, so that it may be sent; one that is here already is let go."""
        if delivery.id not in self._sending and delivery.id not in self._waiting:
            self._waiting[delivery.id] = delivery
            self._changed.set()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping = True
        self._changed.set()

    async def run(self) -> None:
        """Send until :meth:`stop`; raises what a delivery raised."""
        try:
            await self._run()
        finally:
            if not self._stopping:  # else whoever stops it waits for what is on its way
                await cancel(self._sending.values())

    async def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            for id_ in [id_ for id_, task in self._sending.items() if task.done()]:
                self._sending.pop(id_).result()
            await self._give_up_old()
            while self._waiting and len(self._sending) < AT_ONCE:
                id_ = next(iter(self._waiting))
                task = asyncio.create_task(self._deliver(self._waiting.pop(id_)), name=f"send {self.sender.name}")
                task.add_done_callback(lambda _: self._changed.set())
                self._sending[id_] = task
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def finish(self, timeout_s: float) -> None:
        """Let attempts that are being made end, and call off the rest: what is sent again has the same id."""
        if self._sending and self.sender.state == "closed":
            await asyncio.wait(self._sending.values(), timeout=timeout_s)
        await cancel(self._sending.values())

    async def _deliver(self, delivery: Outgoing) -> None:
        self._check()
        left_s = (delivery.since_ms + self._give_up_after_ms) / 1_000 - time.time()
        try:
            async with asyncio.timeout(max(left_s, 0.0) + GRACE_S):
                outcome = await self.sender.send(delivery.notification, delivery.since_ms)
        except TimeoutError:
            outcome = Outcome(False, 0, self._why())
        if outcome.sent:
            self._settle(delivery, "sent", "")
        else:
            await self._give_up(delivery, outcome.problem)

    async def _give_up_old(self) -> None:
        """While the receiver is away turns do not come: what has waited for long enough is given up without one."""
        if self.sender.state == "closed":
            return
        oldest_ms = time.time_ns() // 1_000_000 - self._give_up_after_ms
        for id_, delivery in list(self._waiting.items()):
            if delivery.since_ms < oldest_ms:
                del self._waiting[id_]
                await self._give_up(delivery, self._why())

    async def _give_up(self, delivery: Outgoing, problem: str) -> None:
        self._check()
        await self._undelivered.notification(self.sender.name, delivery.notification, problem, delivery.since_ms)
        self._settle(delivery, "gave_up", problem)

    def _why(self) -> str:
        return f"its turn has not come in time: {self.sender.health.problem or 'the receiver is slow'}"


class Outbox:
    """The desks of all notifying sinks.

    Args:
        senders: of the sinks, each with its ``give_up_after`` in ms.
        undelivered: takes what is given up.
        check: raises when this process may not send any more.
        recent: the latest notifications.
        held_back: told the name of a sink and for how many notifications a digest stood.
    """

    def __init__(
        self, senders: Iterable[tuple[Sender, int]], undelivered: Undelivered, check: Callable[[], None],
        recent: deque[ToldStatus], held_back: Callable[[str, int], None],
    ) -> None:  # fmt: skip
        self._held_back = held_back
        self._settled: list[tuple[str, Fate, str]] = []
        self._recent = recent
        self.desks = {
            sender.name: Desk(sender, give_up_after_ms, undelivered, check, self._settle)
            for sender, give_up_after_ms in senders
        }

    def put(self, deliveries: Iterable[Outgoing]) -> None:
        """Deliveries that are stored; those that are here already are let go."""
        for delivery in deliveries:
            self.desks[delivery.sink].put(delivery)

    def settled(self) -> list[tuple[str, Fate, str]]:
        """Ids of deliveries since the last call, their fates, and why they were given up."""
        settled, self._settled = self._settled, []
        return settled

    async def finish(self, timeout_s: float) -> None:
        """An orderly end: what is being sent may end, nothing else begins."""
        for desk in self.desks.values():
            desk.stop()
        await asyncio.gather(*(desk.finish(timeout_s) for desk in self.desks.values()))

    def _settle(self, delivery: Outgoing, fate: Fate, problem: str) -> None:
        told = delivery.notification
        self._settled.append((delivery.id, fate, problem))
        if told.held_back:
            self._held_back(delivery.sink, told.held_back)
        self._recent.append(
            ToldStatus(
                at_ms=time.time_ns() // 1_000_000,
                way=delivery.sink,
                fate=fate,
                reason=told.reason,
                status=told.status,
                group_labels=told.group_labels,
                alerts=len(told.alerts) + told.more,
                problem=problem,
            )
        )
