"""Readers of the archives: records of topics to files, each archive with positions of its own."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.structs import TopicPartition

from anomaly_app.delivery.status import ArchiveStatus
from anomaly_app.errors import SinkError
from anomaly_app.runtime.delivery_reader import Reader
from anomaly_app.settings import LoadedSettings
from anomaly_app.settings.delivery import Archive as ArchiveSettings
from anomaly_app.sinks.archive import Archive
from anomaly_app.sinks.archive_rows import Record
from anomaly_app.sinks.archive_storage import open_storage
from anomaly_app.sinks.breaker import backoff_s

log = logging.getLogger(__name__)

PATIENCE_MS = 500


class ArchiveReader:
    """Reads the topics of one archive and gives it their records.

    Args:
        loaded: the settings.
        settings: of the archive.
        topics: numbers of partitions of its topics.
        check: raises when this process may not write any more.
        fetch_wait_ms: how long the broker keeps a fetch to which it has nothing to say.
    """

    def __init__(
        self, loaded: LoadedSettings, settings: ArchiveSettings, topics: Mapping[str, int], check: Callable[[], None],
        fetch_wait_ms: int,
    ) -> None:  # fmt: skip
        self.name, self.problem = settings.name, ""
        self.archive: Archive | None = None
        self._settings, self._check = settings, check
        self._alerts_topic = loaded.settings.alerts.topic
        group = f"{loaded.settings.delivery.name}-archive-{settings.name}"
        self._reader = Reader(loaded, topics, group, fetch_wait_ms)
        self._work: asyncio.Future[Any] | None = None
        self._chance = random.Random()
        self._stopping = False

    def stop(self) -> None:
        """Let :meth:`run` end."""
        self._stopping = True

    async def run(self) -> None:
        """Read and write until :meth:`stop`; then :meth:`finish` or :meth:`close`."""
        await self._until_done(self._open)
        await self._reader.start()
        while not self._stopping:
            await self._reader.grow()
            records = [_record(record) for record in await self._reader.take(PATIENCE_MS)]
            await self._until_done(lambda: self._take(records, time.time_ns() // 1_000_000))  # noqa: B023 (it is awaited)
            await self._commit()

    async def finish(self) -> None:
        """Write what is in memory and commit, for an orderly end; :meth:`run` has ended."""
        if self.archive is None:
            return
        try:
            self._check()
            if self._work is not None:  # a thread goes on when its task is cancelled
                await asyncio.wait([self._work])
            await asyncio.to_thread(self.archive.flush)
            await self._commit()
        except SinkError as error:
            log.warning("archive %s: %s; what is not written is read again", self.name, error)

    @property
    def is_away(self) -> bool:
        """Whether the storage does not take files for now."""
        return bool(self.problem)

    def status(self) -> ArchiveStatus:
        """What it has done."""
        archive = self.archive
        return ArchiveStatus(
            name=self.name,
            files=archive.counts.files if archive is not None else 0,
            records=archive.counts.records if archive is not None else 0,
            pending_bytes=archive.pending_bytes if archive is not None else 0,
            problem=self.problem,
        )

    async def close(self) -> None:
        """End its consumer."""
        await self._reader.close()

    async def _until_done(self, work: Callable[[], None]) -> None:
        """Do it in a thread, again and again until the storage takes it."""
        failures = 0
        while True:
            self._check()
            self._work = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                await asyncio.shield(self._work)
            except SinkError as error:
                if not self.problem:
                    log.warning("archive %s: %s; trying again", self.name, error)
                self.problem = str(error)
                failures += 1
                await asyncio.sleep(backoff_s(failures, self._chance))
            else:
                self.problem = ""
                return

    def _open(self) -> None:
        self.archive = Archive(self._settings, open_storage(self._settings), [self._alerts_topic])

    def _take(self, records: list[Record], now_ms: int) -> None:
        assert self.archive is not None
        if not records:
            self.archive.tick(now_ms)
        by_place: dict[tuple[str, int], list[Record]] = {}
        for record in records:
            by_place.setdefault((record.topic, record.partition), []).append(record)
        for own in by_place.values():
            self.archive.add(own, now_ms)

    async def _commit(self) -> None:
        assert self.archive is not None
        self._check()
        problem = await self._reader.commit({TopicPartition(*tp): at for tp, at in self.archive.positions().items()})
        if problem:
            log.debug("archive %s: positions are not committed: %s", self.name, problem)


def _record(record: Any) -> Record:
    return Record(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )
