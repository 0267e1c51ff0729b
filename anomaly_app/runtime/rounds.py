"""Writing what stages have gathered, in rounds: one for all stages of a group, not one for each.

A round is records, then states, then acknowledgements, each side by side for all stages. Between two rounds there is a
pause that grows with what gathering costs: when there is much to do, rounds are fewer and larger.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from anomaly_app.runtime.frames import bundled
from anomaly_app.runtime.outgoing import Outgoing
from anomaly_app.runtime.repartition import ShuffleStage
from anomaly_app.runtime.stage import Flush, Stage
from anomaly_app.runtime.writer import OutputWriter
from anomaly_app.status import AlertFeed, Durations
from anomaly_app.tables.state import Entries, StateTable, Stored, steps

PAUSE_SHARE = 4.0
"""A pause is so many times as long as gathering took, as far as that is longer than the interval."""
LONGEST_PAUSE_S = 0.2
DELETED_AT_ONCE = 5_000
"""Entries of one write when the state of a query is deleted."""

Work = Sequence[tuple[Stage, Flush]]


class Rounds:
    """Writes flushes.

    Args:
        writer: of all output.
        tables: of states, by name.
        feed: shows alerts once they are written.
        durations: of the rounds.
        ended: is called when a stage has come to the end of a bounded run.
    """

    def __init__(
        self,
        writer: OutputWriter,
        tables: Mapping[str, StateTable],
        feed: AlertFeed,
        durations: Durations,
        ended: Callable[[], None],
    ) -> None:
        self._writer, self._tables, self._feed, self._durations = writer, tables, feed, durations
        self._ended = ended

    async def run(self, stages: Sequence[Stage], interval_s: float) -> None:
        """Write what the stages of a group have, whenever they have something; until cancelled.

        Args:
            stages: that share the event that wakes them.
            interval_s: between two rounds at least, in s.

        Raises:
            Exception: of a stage, or of what is written to.
        """
        wake = stages[0].wake
        while True:
            await wake.wait()
            wake.clear()
            while dirty := [stage for stage in stages if stage.dirty]:
                began = time.monotonic()
                work = [(stage, stage.gather(now_ms())) for stage in dirty]
                gathering_s = time.monotonic() - began
                await self.write(work)
                for stage in dirty:
                    if not stage.dirty:
                        stage.settled.set()
                await self._end(stages)
                if interval_s:
                    await asyncio.sleep(max(interval_s, min(PAUSE_SHARE * gathering_s, LONGEST_PAUSE_S)))
            await self._end(stages)

    async def _end(self, stages: Sequence[Stage]) -> None:
        """What comes of the end of a bounded run, of the stages that are there and have written all else."""
        for stage in stages:
            if stage.dirty or not stage.at_end or stage.ended or stage.waiting is not None:
                continue
            stage.ended = True
            stage.end_time()
            await stage.quiet()
            flush = stage.finish(now_ms())
            if flush is not None:
                await self.write([(stage, flush)])
            stage.finished = True
            self._ended()

    async def write(self, work: Work) -> None:
        """One round.

        Raises:
            KafkaError: it could not be written; what follows is not done then.
        """
        started = time.monotonic()
        for stage, _ in work:
            if stage.replays is not None and stage.position >= stage.replays.end:
                stage.replays = None
        await self._writer.write(together(record for _, flush in work for record in flush.records))
        for to_stderr, line in [line for _, flush in work for line in flush.lines]:
            print(line, file=sys.stderr if to_stderr else sys.stdout, flush=True)
        await self._checkpoint(work)
        for stage, flush in work:
            for pending in flush.batches:
                pending.done()
            for alert in flush.alerts:
                self._feed.publish(alert)
            stage.flushed.set()
        self._durations.add(time.monotonic() - started)

    async def _checkpoint(self, work: Work) -> None:
        at_once: list[tuple[StateTable, int, Entries]] = []
        for stage, flush in work:
            if flush.checkpoint is None:
                continue
            table = self._table(stage)
            first, *others = steps(Stored(flush.checkpoint, self._outputs(stage), queries=stage.queries), flush.changes)
            if not others:
                at_once.append((table, stage.partition, first))
            for entries in (first, *others) if others else ():
                await self.store([(table, stage.partition, entries)])
        await self.store(at_once)
        for stage, flush in work:
            if flush.checkpoint is None:
                continue
            stage.stored = True
            # The checkpoint that names their owner no more is durable. A crash on the way leaves some: they are
            # recognised as nobody's then.
            gone, stage.left_behind = stage.left_behind, []
            for begin in range(0, len(gone), DELETED_AT_ONCE):
                part = gone[begin : begin + DELETED_AT_ONCE]
                await self.store([(self._table(stage), stage.partition, [(key, None) for key in part])])

    def _table(self, stage: Stage) -> StateTable:
        return self._tables[stage.pipeline.state_table(stage.feed if isinstance(stage, ShuffleStage) else None)]

    def _outputs(self, stage: Stage) -> dict[str, list[int]]:
        """How far the outputs were written before this partition's next flush.

        While it takes again what it had taken before a crash, some of its alerts stand there from then.
        """
        return self._writer.written if stage.replays is None else stage.replays.outputs

    async def store(self, entries: Sequence[tuple[StateTable, int, Entries]]) -> None:
        """Entries of partitions of tables, each side by side; raises KafkaError."""
        if not entries:
            return
        offsets = await self._writer.changelogs([(table.changelog, number, given) for table, number, given in entries])
        for (table, number, given), offset in zip(entries, offsets, strict=True):
            table.write(number, given, offset)


def together(records: Iterable[Outgoing]) -> list[Outgoing]:
    """Records of a round, of which those that are frames for one partition are as few as can be, in their order."""
    found: list[Outgoing] = []
    frames: dict[tuple[str, int | None], list[Outgoing]] = {}
    for record in records:
        if record.is_frame:
            frames.setdefault((record.topic, record.partition), []).append(record)
        else:
            found.append(record)
    for first, *others in frames.values():
        data = bundled(one.value for one in (first, *others) if one.value is not None)
        found += [first._replace(value=value) for value in data]
    return found


def now_ms() -> int:
    """By the clock."""
    return time.time_ns() // 1_000_000
