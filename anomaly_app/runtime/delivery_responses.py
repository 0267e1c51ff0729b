"""Doing what responses ask for: calls, each in a task of its own, and records of every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from anomaly_app.delivery.response_records import ResponseRecord, ResponseRequest
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.outgoing import ID_HEADER
from anomaly_app.runtime.refusals import refusal
from anomaly_app.sinks.responses import ResponseCalls
from anomaly_app.sinks.sender import Outcome

AT_ONCE = 16
"""Calls that are being made; the others wait for their turn."""
RETRY_S = 0.5


class ResponseDesk:
    """Makes the calls of responses and writes their records.

    Args:
        calls: of the settings.
        producer: a started aiokafka producer.
        topic: ``delivery.response_topic``.
        check: raises when this process may not do anything any more.
    """

    def __init__(self, calls: ResponseCalls, producer: Any, topic: str, check: Callable[[], None]) -> None:
        self._calls, self._producer, self._topic, self._check = calls, producer, topic, check
        self._making: dict[str, asyncio.Task[Outcome]] = {}

    def put(self, requests: Mapping[str, ResponseRequest]) -> None:
        """Begin with calls that are stored, as far as there is room; those that are being made go on."""
        for id_, request in requests.items():
            if len(self._making) >= AT_ONCE:
                return
            if id_ not in self._making:
                self._making[id_] = asyncio.create_task(self._make(request), name=f"response {request.rule}")

    def settled(self) -> list[tuple[str, Outcome]]:
        """Calls that have ended since the last time, and how; raises what one raised."""
        done = [id_ for id_, task in self._making.items() if task.done()]
        return [(id_, self._making.pop(id_).result()) for id_ in done]

    async def write(self, records: Sequence[ResponseRecord]) -> None:
        """Write records and wait until the brokers have them, however long they are away."""
        while records:
            self._check()
            try:
                sent = [
                    await self._producer.send(
                        self._topic,
                        msgspec.json.encode(record),
                        record.alert.encode(),
                        headers=[(ID_HEADER, record.id.encode())],
                    )
                    for record in records
                ]
                await asyncio.gather(*sent)
            except KafkaError as error:
                if refusal(error) is not None:
                    raise
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def finish(self, timeout_s: float) -> None:
        """Let calls end that are being made, and call off the rest: they are made again under the same key."""
        if self._making:
            await asyncio.wait(self._making.values(), timeout=timeout_s)
        running = [id_ for id_, task in self._making.items() if not task.done()]
        await cancel([self._making.pop(id_) for id_ in running])

    async def close(self) -> None:
        """Call off everything."""
        await cancel(self._making.values())

    async def _make(self, request: ResponseRequest) -> Outcome:
        self._check()
        return await self._calls.make(request)
