"""The test kit's registry in a thread of its own: a test can stop it and start it again, with what it knew."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from threading import Thread
from types import TracebackType
from typing import Any, Self

from anomaly_app.testing.registry import RegistryServer


class RegistryThread:
    def __init__(self) -> None:
        self._server = RegistryServer()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)

    @property
    def url(self) -> str:
        return self._server.url

    def allow(self, users: Mapping[str, str] | None) -> None:
        self._server.allow(users)

    def start(self) -> None:
        self._call(self._server.start())

    def stop(self) -> None:
        self._call(self._server.stop())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
