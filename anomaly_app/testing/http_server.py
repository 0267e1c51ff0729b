"""A server of HTTP on loopback, for tests and demos: what the servers of this package have in common."""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from aiohttp import web


class HttpServer(ABC):
    """A server; an async context manager.

    Args:
        port: where it listens; 0 for any free one, which it keeps when it starts again.
        shutdown_s: that calls under way have when it stops, in seconds.
    """

    def __init__(self, port: int = 0, *, shutdown_s: float = 0.1) -> None:
        self.port, self._shutdown_s = port, shutdown_s
        self._runner: web.AppRunner | None = None

    @abstractmethod
    def application(self) -> web.Application:
        """What answers, made anew at each start."""

    @property
    def url(self) -> str:
        """Where clients ask, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; raises ``OSError`` if the port is taken."""
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=self._shutdown_s)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; what it knows stays, so that it can start again."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


async def serve(server: HttpServer, told: str) -> None:
    """Run a server until somebody ends the process.

    Args:
        server: not started yet.
        told: what is printed in front of its address when it listens.
    """
    ended = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    async with server:
        print(f"{told} {server.url}", flush=True)
        await ended.wait()
