"""A query over several tables, step by step: with crashes between the steps, and without room for state in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomaly_app.graph.operator import GraphOperator
from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, Row
from anomaly_app.room import Room
from anomaly_app.schema import Changelog

Arrival = tuple[str, int, tuple[Any, ...]]
"""A row as it comes: name of its table, kind of change, values."""


class Disk:
    """What has been flushed, in memory."""

    def __init__(self, entries: dict[bytes, bytes], prefix: bytes) -> None:
        self.entries, self.prefix = entries, prefix

    def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        return [self.entries.get(self.prefix + name) for name in names]

    def scan(self, behind: bytes, most: int) -> Sequence[tuple[bytes, bytes]]:
        size = len(self.prefix)
        names = sorted(name[size:] for name in self.entries if name.startswith(self.prefix) and name[size:] > behind)
        return [(name, self.entries[self.prefix + name]) for name in names[:most]]


@dataclass
class Stepwise:
    """Runs one query.

    Args:
        sql: the query, perhaps with CREATE TABLE statements before it.
        changelogs: how the rows of the tables change them.
        mode: ``kept`` (one operator), ``crash`` (a fresh one after each step), ``small`` (no room for state in memory).
        is_compact: no row comes and goes in one step.
    """

    sql: str
    changelogs: Mapping[str, Changelog]
    mode: str = "kept"
    is_compact: bool = True
    changes: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)
    entries: dict[bytes, bytes] = field(default_factory=dict)
    written: int = 0

    def __post_init__(self) -> None:
        self.bound = bind_text(self.sql, {}, changelogs=self.changelogs)
        self.names = [scan.table for scan in self.bound.factory.scans]
        self._position = 0
        self._there: Counter[Any] = Counter()
        self.operator = self._fresh()

    def _fresh(self) -> GraphOperator:
        layouts = {table.name: table.layout for table in self.bound.tables}
        operator, _ = self.bound.factory.create_over(layouts)
        if self.mode == "small":
            room = Room(0)
            for prefix, store in operator.stores.items():
                store.attach(Disk(self.entries, prefix), room)
        return operator

    def step(self, arrivals: Sequence[Arrival], watermark: int = MIN_WATERMARK) -> None:
        """Give some rows, and look at what comes of them."""
        flows: dict[str, list[Row]] = {name: [] for name in self.names}
        for name, kind, values in arrivals:
            if name in flows:
                changes = self.changelogs.get(name, Changelog.APPEND) is not Changelog.APPEND
                flows[name].append((0, self._position, *values, *([kind] if changes else ())))
            self._position += 1
        found = self.operator.step([Flow(flows[name], watermark) for name in self.names])
        assert not self.operator.problems
        come = Counter(one.values for one in found if one.change % 2 == 0)
        gone = Counter(one.values for one in found if one.change % 2)
        if self.is_compact:
            assert not come & gone, "a row comes and goes in one step"
        self._there.subtract(gone)
        self._there.update(come)
        assert all(count >= 0 for count in self._there.values()), "a row goes that is not there"
        self.changes += [(one.change, one.values) for one in found]
        if self.mode == "kept":
            return
        for name, value in self.operator.changes():
            self.written += 1
            if value is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = value
        if self.mode == "crash":
            self.operator = self._fresh()
            self.operator.restore(sorted(self.entries.items()))
            self.operator.resume_inputs([watermark] * len(self.names))

    def finish(self) -> list[tuple[Any, ...]]:
        """The end of all tables: the rows that are left."""
        self.step([], MAX_WATERMARK)
        return list(self._there.elements())
