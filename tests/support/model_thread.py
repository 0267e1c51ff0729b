"""The test kit's model server in a thread of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from threading import Thread
from types import TracebackType
from typing import Any, Self

from anomaly_app.testing.model_server import Behaviour, ModelServer, Score, total


class ModelThread:
    def __init__(self, score: Score = total, *, key: str = "", **behaviour: Any) -> None:
        self.server = ModelServer(0, score, key=key, behaviour=Behaviour(**behaviour))
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return self.server.url

    def behave(self, **behaviour: Any) -> None:
        self.server.behaviour = replace(self.server.behaviour, **behaviour)

    def start(self) -> None:
        self._call(self.server.start())

    def stop(self) -> None:
        self._call(self.server.stop())

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cancel(self) -> None:
        """Calls that hang."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._call(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
