"""Rows on their way from one fragment of a query to the next: numbered, keyed for it, with the time behind them.

What a fragment gives is a function of the frames that it reads, step by step; so its rows have the same numbers when it
gives them again after a crash, and the next fragment drops those that it has seen. The rows of a step have no order of
their own: they are numbered by time and by where the last row stands that they are made of, and those of one place in
the order of their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from anomaly_app.operators import MIN_WATERMARK, TIME, Finding, Row
from anomaly_app.runtime.exchange_codec import ExchangeCodec
from anomaly_app.runtime.feed import Feed
from anomaly_app.runtime.frames import What, partition_of
from anomaly_app.runtime.outgoing import Outgoing
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.schema import Column

_encode = msgspec.msgpack.Encoder().encode

_stands = itemgetter(0, 2)
"""Of a row as (time, values, place)."""


def _stands_and_is(row: tuple[int, tuple[Any, ...], tuple[int, int]]) -> tuple[int, tuple[int, int], bytes]:
    """The same, and its values where several rows stand in one place."""
    time, values, place = row
    return time, place, _encode(values)


class Outlet:
    """What one partition of a fragment gives to the next fragment.

    Args:
        target: the next fragment.
        feed: its input.
        columns: of the rows, in order.
        partition: of the fragment.
        number: of the next row.
        run: of this worker, for the end of a bounded run.
    """

    def __init__(
        self, target: Pipeline, feed: Feed, columns: Sequence[Column], partition: int, number: int, run: str
    ) -> None:
        codec = feed.codec
        assert isinstance(codec, ExchangeCodec)
        self._frames, self._topic, self._downstream = codec.frames, target.repartition_topic, target.downstream
        self._partition, self._run, self.number = partition, run, number
        names = [column.name for column in columns]
        places = [names.index(column.name) for column in feed.layout.columns]
        self._pick = itemgetter(*places) if len(places) > 1 else None
        self._single = places[0] if len(places) == 1 else None
        keys = feed.partition_by
        own = partition % target.downstream
        self._target_of = (lambda row: own) if keys is None else partition_of(codec.layout, keys, target.downstream)
        self._waiting: list[list[Row]] = [[] for _ in range(target.downstream)]
        self._cuts: list[list[tuple[int, int]]] = [[] for _ in range(target.downstream)]
        self._told = self._reached = MIN_WATERMARK
        self._idle = self._was_idle = False

    def add(self, findings: Sequence[Finding], places: Sequence[tuple[int, int]], reached: int, idle: bool) -> None:
        """The rows of a step.

        Args:
            findings: the rows.
            places: where the last row of a table stands that each was made of.
            reached: the watermark behind them.
            idle: nothing comes to the fragment for now.
        """
        rows = [
            (finding.time, self._picked(finding.values), place) for finding, place in zip(findings, places, strict=True)
        ]
        if len(rows) > 1:
            rows.sort(key=_stands)
            if len({_stands(row) for row in rows}) < len(rows):
                rows.sort(key=_stands_and_is)
        before = self._reached
        for time, values, place in rows:
            row = (time, self.number, *values, *place)
            self.number += 1
            target = self._target_of(row)
            cuts = self._cuts[target]
            if row[TIME] <= before and before > (cuts[-1][1] if cuts else self._told):
                cuts.append((len(self._waiting[target]), before))
            self._waiting[target].append(row)
        self._reached = max(self._reached, reached)
        self._idle = idle

    def _picked(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._pick is not None:
            picked: tuple[Any, ...] = self._pick(values)
            return picked
        return (values[self._single],) if self._single is not None else ()

    def frames(self) -> list[Outgoing]:
        """What gathered since the last time."""
        found: list[Outgoing] = []
        moved = self._reached != self._told or self._idle != self._was_idle
        for target, rows in enumerate(self._waiting):
            if not rows and not moved:
                continue
            first, before = 0, self._told
            for number, reached in self._cuts[target]:
                found += self._all(target, before, reached, rows[first:number])
                first, before = number, reached
            found += self._all(target, before, self._reached, rows[first:])
            if self._idle:
                found.append(self._frame(target, (), What.IDLE))
            self._waiting[target], self._cuts[target] = [], []
        self._told, self._was_idle = self._reached, self._idle
        return found

    def last_frames(self) -> list[Outgoing]:
        """The rows that came of the end of a bounded run, and that this is all."""
        found: list[Outgoing] = []
        for target, rows in enumerate(self._waiting):
            last = self._frames.encode_all(self._partition, self._told, self._told, rows, What.LAST, self._run)
            found += [*(self._record(target, data) for data in last), self._frame(target, (), What.END)]
            self._waiting[target], self._cuts[target] = [], []
        return found

    def _all(self, target: int, before: int, reached: int, rows: Sequence[Row]) -> list[Outgoing]:
        frames = self._frames.encode_all(self._partition, before, reached, rows)
        return [self._record(target, data) for data in frames]

    def _frame(self, target: int, rows: Sequence[Row], what: What) -> Outgoing:
        return self._record(target, self._frames.encode(self._partition, self._told, rows, what, self._run))

    def _record(self, target: int, data: bytes) -> Outgoing:
        return Outgoing(self._topic, b"%d" % target, data, [], partition=target, is_frame=True)
