"""A receiver of webhooks that fails on purpose, and counts what it has taken and what came twice."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from aiohttp import web

from anomaly_app.testing.http_server import HttpServer

IDEMPOTENCY = "Idempotency-Key"

Kind: TypeAlias = Literal["take", "status", "hang", "half", "die", "redirect"]


class Behaviour(NamedTuple):
    """What is done with a request.

    Args:
        kind: ``take`` answers well; ``status`` answers with an error; ``hang`` never answers; ``half`` closes in the
            middle of an error's answer; ``die`` takes it and closes the connection before the answer; ``redirect``
            answers that it is elsewhere.
        status: of the answer.
        retry_after: header of that name; "" for none.
        location: of the redirect.
        body: of the answer.
        seconds: that pass before anything happens.
    """

    kind: Kind = "take"
    status: int = 200
    retry_after: str = ""
    location: str = ""
    body: str = "ok"
    seconds: float = 0.0


TAKE = Behaviour()
HANG = Behaviour("hang")
HALF = Behaviour("half", 500)
DIE = Behaviour("die")


def error(status: int, body: str = "it failed on purpose", retry_after: str = "") -> Behaviour:
    """An answer that says no, such as 500, or 429 with ``Retry-After``."""
    return Behaviour("status", status, retry_after, body=body)


def redirect(location: str, status: int = 307) -> Behaviour:
    """An answer that leads elsewhere."""
    return Behaviour("redirect", status, location=location)


@dataclass(slots=True)
class Received:
    """A request as it came.

    Args:
        path: with query.
        headers: by name in lower case.
        body: as it came.
        taken: it counts as received, even if its sender was not told.
        at_s: when, by the monotonic clock.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    taken: bool
    at_s: float

    @property
    def key(self) -> str:
        """Of idempotency; "" for none."""
        return self.headers.get(IDEMPOTENCY.lower(), "")

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(slots=True)
class Box:
    """What came to one path, and what is done with what comes next.

    Args:
        always: what is done when no other step is planned.
        steps: planned for the next requests, one each.
        requests: all that came, in order.
        kept: the first request of each idempotency key that was taken.
        doubles: by key how often it came again after it was taken.
    """

    always: Behaviour = TAKE
    steps: deque[Behaviour] = field(default_factory=deque)
    requests: list[Received] = field(default_factory=list)
    kept: dict[str, Received] = field(default_factory=dict)
    doubles: Counter[str] = field(default_factory=Counter)

    def plan(self, *steps: Behaviour) -> None:
        """Do these with the next requests."""
        self.steps.extend(steps)

    @property
    def taken(self) -> list[Received]:
        """All that was taken, doubles too, in order."""
        return [request for request in self.requests if request.taken]


class FailingReceiver(HttpServer):
    """A server of HTTP on loopback. Every path is a receiver of its own: ``receiver["/ops"]``.

    It keeps idempotency keys: what comes again under one is answered well and counted as a double.

    Args:
        port: where it listens; 0 for a free one.
        choose: what is done with a request, by its path and its number there; None to leave it to the plan.

    Example::

        async with FailingReceiver() as receiver:
            receiver["/ops"].plan(error(500), error(429, retry_after="1"), DIE)
            ...  # send to receiver.url + "/ops"
            assert len(receiver["/ops"].kept) == 1
    """

    def __init__(
        self, port: int = 0, choose: Callable[[str, int], Behaviour | None] = lambda path, number: None
    ) -> None:
        super().__init__(port)
        self._choose = choose
        self._boxes: dict[str, Box] = {}
        self._ending = asyncio.Event()

    def __getitem__(self, path: str) -> Box:
        return self._boxes.setdefault(path, Box())

    def application(self) -> web.Application:
        """One handler for all paths."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._ending = asyncio.Event()
        return app

    async def stop(self) -> None:
        """Listen no more, and let nobody hang; what came is kept."""
        self._ending.set()
        await super().stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        box = self[request.path]
        body = await request.read()
        chosen = self._choose(request.path, len(box.requests))
        behaviour = chosen or (box.steps.popleft() if box.steps else box.always)
        headers = {name.lower(): value for name, value in request.headers.items()}
        taken = behaviour.kind in ("take", "die")
        received = Received(request.path_qs, headers, body, taken, time.monotonic())
        box.requests.append(received)
        if taken and received.key:
            if received.key in box.kept:
                box.doubles[received.key] += 1
            box.kept.setdefault(received.key, received)
        if behaviour.seconds:
            await asyncio.sleep(behaviour.seconds)
        return await self._answer(behaviour, request)

    async def _answer(self, behaviour: Behaviour, request: web.Request) -> web.StreamResponse:
        if behaviour.kind == "hang":
            await self._ending.wait()
        if behaviour.kind in ("hang", "die"):
            _cut(request)
            return web.Response(status=500)  # to nobody
        if behaviour.kind == "half":
            response = web.StreamResponse(status=behaviour.status, headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"it breaks off he")
            _cut(request)
            return response
        headers = {"Retry-After": behaviour.retry_after} if behaviour.retry_after else {}
        if behaviour.location:
            headers["Location"] = behaviour.location
        return web.Response(status=behaviour.status, text=behaviour.body, headers=headers)


@contextmanager
def in_thread(receiver: FailingReceiver) -> Iterator[FailingReceiver]:
    """Run a receiver beside a test that has no loop, or a busy one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="failing-receiver", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(receiver.start(), loop).result(10)
        yield receiver
    finally:
        asyncio.run_coroutine_threadsafe(receiver.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
