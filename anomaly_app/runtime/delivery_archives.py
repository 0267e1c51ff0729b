"""Readers of the archives: records of topics to files, each archive with positions of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.structs import TopicPartition

from anomaly_app.errors import SinkError
from anomaly_app.runtime.delivery_reader import Reader
from anomaly_app.settings import LoadedSettings
from anomaly_app.sinks.archive import Archive, Record

log = logging.getLogger(__name__)

WAIT_S = (1.0, 60.0)
"""Between two attempts while the storage does not take files."""
PATIENCE_MS = 1_000


class ArchiveReader:
    """Reads the topics of one archive and gives it their records.

    Args:
        loaded: the settings.
        archive: writes the files.
        topics: numbers of partitions of its topics.
        check: raises when this process may not write any more.
    """

    def __init__(
        self, loaded: LoadedSettings, archive: Archive, topics: Mapping[str, int], check: Callable[[], None]
    ) -> None:
        self.archive, self.problem = archive, ""
        self._check = check
        self._reader = Reader(loaded, topics, f"{loaded.settings.delivery.name}-archive-{archive.settings.name}")
        self._work: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Read and write until this is cancelled; then :meth:`finish` or :meth:`close`."""
        await self._reader.start()
        while True:
            records = [_record(record) for record in await self._reader.take(PATIENCE_MS)]
            await self._until_taken(records)
            await self._commit()

    async def finish(self) -> None:
        """Write what is in memory and commit, for an orderly end."""
        try:
            self._check()
            if self._work is not None:  # a thread goes on when its task is cancelled
                await asyncio.wait([self._work])
            await asyncio.to_thread(self.archive.flush)
            await self._commit()
        except SinkError as error:
            log.warning("archive %s: %s; what is not written is read again", self.archive.settings.name, error)

    async def close(self) -> None:
        """End its consumer."""
        await self._reader.close()

    async def _until_taken(self, records: list[Record]) -> None:
        wait_s, longest_s = WAIT_S
        while True:
            self._check()
            try:
                self._work = asyncio.ensure_future(asyncio.to_thread(self._take, records, time.time_ns() // 1_000_000))
                await asyncio.shield(self._work)
            except SinkError as error:
                if not self.problem:
                    log.warning("archive %s: %s; trying again", self.archive.settings.name, error)
                self.problem = str(error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, longest_s)
            else:
                self.problem = ""
                return

    def _take(self, records: list[Record], now_ms: int) -> None:
        """In a thread: files are compressed and written meanwhile."""
        if not records:
            self.archive.tick(now_ms)
        by_place: dict[tuple[str, int], list[Record]] = {}
        for record in records:
            by_place.setdefault((record.topic, record.partition), []).append(record)
        for own in by_place.values():
            self.archive.add(own, now_ms)

    async def _commit(self) -> None:
        problem = await self._reader.commit({TopicPartition(*tp): at for tp, at in self.archive.positions().items()})
        if problem:
            log.debug("archive %s: positions are not committed: %s", self.archive.settings.name, problem)


def _record(record: Any) -> Record:
    return Record(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )
