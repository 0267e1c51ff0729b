"""What is written together."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.operators import Layout
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.frames import FrameCodec, decode_heads
from anomaly_app.runtime.outgoing import Outgoing
from anomaly_app.runtime.rounds import Rounds, together
from anomaly_app.runtime.stage import Flush, Stage
from anomaly_app.status import AlertFeed, Durations


def test_frames_for_a_partition_are_one_record() -> None:
    codec = FrameCodec(Layout(()))
    frames = [
        Outgoing("rows", b"%d" % target, codec.encode(upstream, 9), [], partition=target, is_frame=True)
        for upstream in range(3)
        for target in range(2)
    ]
    alert = Outgoing("alerts", None, b"v", [])
    plain, *records = together([*frames[:3], alert, *frames[3:]])
    assert plain is alert
    assert [(record.topic, record.partition, record.key) for record in records] == [
        ("rows", 0, b"0"),
        ("rows", 1, b"1"),
    ]
    for record in records:
        assert record.value is not None
        assert [one.upstream for one in decode_heads(record.value)] == [0, 1, 2]


class Counting(Stage):
    """Its rows are a number that it writes."""

    def __init__(self, partition: int, end: int | None = None) -> None:
        pipeline: Any = SimpleNamespace(state_table=lambda feed: "state")
        super().__init__(pipeline, SimpleNamespace(idle_timeout_s=0.0), "rows", partition, 1, end)
        self.ends = 0

    def fill(self, flush: Flush, now_ms: int) -> None:
        flush.records.append(Outgoing("out", None, b"%d" % self.partition, []))
        flush.checkpoint = Checkpoint(next_position=self.position)

    def finish(self, now_ms: int) -> Flush:
        self.ends += 1
        return Flush([Outgoing("out", None, b"end %d" % self.partition, [])])


class Written:
    """What a writer is given, one round after the other; it waits until it may go on."""

    def __init__(self) -> None:
        self.written: dict[str, list[int]] = {}
        self.rounds: list[list[bytes | None]] = []
        self.stored: list[list[int]] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def write(self, records: list[Outgoing]) -> None:
        await self.may_go_on.wait()
        self.rounds.append([record.value for record in records])

    async def changelogs(self, entries: Any) -> list[int]:
        self.stored.append([partition for _, partition, _ in entries])
        return [0] * len(entries)


async def reached(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (of what happens elsewhere, which has no event)
            await asyncio.sleep(0)


async def run(stages: list[Counting], writer: Written, then: Any) -> None:
    for stage in stages:
        stage.wake = stages[0].wake
    tables: Any = {"state": SimpleNamespace(changelog="changelog", write=lambda *_: None)}
    given: Any = writer
    rounds = Rounds(given, tables, AlertFeed(10), Durations(), lambda: None)
    task = asyncio.create_task(rounds.run(stages, 0))
    try:
        await then()
    finally:
        await cancel([task])


async def test_what_stages_gather_while_a_round_is_written_is_one_round() -> None:
    stages, writer = [Counting(number) for number in range(3)], Written()

    async def then() -> None:
        writer.may_go_on.clear()
        stages[1].touch()
        await reached(lambda: not stages[1].dirty)
        for stage in stages:
            stage.touch()
        writer.may_go_on.set()
        await reached(lambda: len(writer.stored) == 2)
        await reached(lambda: all(stage.settled.is_set() for stage in stages))

    await run(stages, writer, then)
    assert writer.rounds == [[b"1"], [b"0", b"1", b"2"]]
    assert writer.stored == [[1], [0, 1, 2]], "their states are written side by side"


async def test_the_end_of_one_stage_does_not_wait_for_rows_of_another_to_cease() -> None:
    ending, busy, writer = Counting(0, end=5), Counting(1), Written()

    async def then() -> None:
        ending.position = 5
        ending.touch()
        for _ in range(1_000):
            busy.touch()  # always something to write
            await asyncio.sleep(0)
            if ending.finished:
                break

    await run([ending, busy], writer, then)
    assert ending.finished and ending.ends == 1
    assert [b"end 0"] in writer.rounds


async def test_a_failure_ends_the_rounds() -> None:
    stage, writer = Counting(0), Written()
    stage.fill = lambda flush, now_ms: 1 / 0  # type: ignore[method-assign,assignment]  # it fails
    stage.touch()
    tables: Any = {}
    given: Any = writer
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(Rounds(given, tables, AlertFeed(10), Durations(), lambda: None).run([stage], 0), 10)
    assert writer.rounds == []
