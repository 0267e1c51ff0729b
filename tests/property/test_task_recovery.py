"""A task that is killed and restored from its last checkpoint gives what an undisturbed one gives, each once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.task import PartitionTask, QuerySlot, TimeMode
from anomaly_app.operators import Counters, Finding, InnerRow, Problem, Row
from anomaly_app.schema import STRING, TIMESTAMP_3, Column, Schema

WITHIN_MS = 50


class PairsWithin:
    """Finds, per key, disjoint pairs of neighbouring rows less than WITHIN_MS apart; what it consumed is state."""

    keeps_rows = False

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.late_inside: list[InnerRow] = []
        self.counters = Counters()
        self.open: dict[str, Row] = {}
        self.consumed: dict[str, tuple[int, int]] = {}
        self.changed: set[str] = set()
        self.watermark = -(1 << 63)

    def process(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
        found = []
        for row in rows:
            time, position, key = row[:3]
            assert time <= watermark
            if (time, position) <= self.consumed.get(key, (-1, -1)):
                continue
            first = self.open.pop(key, None)
            if first is not None and time - first[0] < WITHIN_MS:
                found.append(Finding((key,), time, (key, first[1], position), row))
                self.consumed[key] = (time, position)
                self.changed.add(key)
            else:
                self.open[key] = row
        self.watermark = watermark
        return found

    def advance(self, watermark: int) -> list[Finding]:
        return self.process((), watermark)

    def due_ms(self) -> None:
        pass

    def resume(self, watermark: int) -> None:
        self.watermark = watermark

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        changed, self.changed = self.changed, set()
        return [(key.encode(), b"%d %d" % self.consumed[key]) for key in changed]

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in state:
            time, position = value.split()
            self.consumed[key.decode()] = (int(time), int(position))

    def oldest_time(self) -> int | None:
        return min((row[0] for row in self.open.values() if row[0] + WITHIN_MS > self.watermark), default=None)


COLUMNS = (Column("k", STRING), Column("ts", TIMESTAMP_3))
SCHEMAS = {TimeMode.ROWTIME: Schema(COLUMNS, rowtime="ts"), TimeMode.ARRIVAL: Schema(COLUMNS, proctime="ts")}
QUERIES = {
    "tumble": "SELECT k, window_end, COUNT(*) AS n, LAST_VALUE(ts) AS l FROM "
    "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0.030' SECOND)) GROUP BY k, window_start, window_end",
    "hop": "SELECT k, window_end, COUNT(*) AS n, FIRST_VALUE(ts) AS f FROM "
    "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '0.010' SECOND, INTERVAL '0.030' SECOND)) "
    "GROUP BY k, window_start, window_end",
    "session": "SELECT k, window_start, window_end, COUNT(*) AS n FROM "
    "TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '0.012' SECOND)) "
    "GROUP BY k, window_start, window_end",
    "filter": "SELECT k, ts FROM t WHERE k = 'a'",
}
BOUND = {
    (name, mode): bind_text(text, {"t": schema}) for name, text in QUERIES.items() for mode, schema in SCHEMAS.items()
}
SETS = (("pairs",), ("pairs", "tumble", "session", "filter"), ("hop", "pairs"), ("tumble", "hop", "session", "filter"))
"""Queries in one task: those that need order, those that do not, and both."""


def fresh(upstreams: Sequence[int] | None, mode: TimeMode, queries: Sequence[str] = ("pairs",)) -> PartitionTask:
    slots = []
    for name in queries:
        if name == "pairs":
            slots.append(QuerySlot(name, PairsWithin()))
        else:
            bound = BOUND[name, mode]
            slots.append(QuerySlot(name, bound.factory.create(bound.layout), needs_order=bound.factory.needs_order))
    return PartitionTask(slots, delay_ms=20, upstreams=upstreams, mode=mode)


times = st.integers(0, 60)
rows_strategy = st.lists(st.tuples(times, st.sampled_from("ab")), min_size=1, max_size=60)


def run(batches, feed, upstreams, mode, crashes: Sequence[bool], queries: Sequence[str] = ("pairs",)):
    task, stored, entries = fresh(upstreams, mode, queries), Checkpoint(), {}
    written: list[tuple] = []
    late: list[Row] = []

    def told(output):
        return [(queries[number], finding.values) for number, finding in output.findings]

    number = 0
    for crash in (*crashes, None):
        if crash is None:  # run to the end
            while number < len(batches):
                feed(task, batches[number])
                number += 1
            break
        if number < len(batches):
            feed(task, batches[number])
            number += 1
        if crash:  # everything since the last checkpoint is lost
            task = fresh(upstreams, mode, queries)
            position = task.restore(Checkpoint.decode(stored.encode()), dict(entries))
            number = next((n for n, b in enumerate(batches) if b["end"] > position), len(batches))
        else:
            output = task.take()
            stored, changes = task.checkpoint()
            for key, value in changes:
                if value is None:
                    entries.pop(key, None)
                else:
                    entries[key] = value
            written += told(output)
            late += output.late
    task.finish()
    output = task.take()
    return sorted(written + told(output), key=repr), sorted(late + output.late)


def make_batches(data, sizes):
    rows, start, batches = [], 0, []
    base = 0
    for position, (offset, key) in enumerate(data):
        base += 7
        rows.append((base + offset, position, key, base + offset))
    while start < len(rows):
        size = sizes[len(batches) % len(sizes)]
        part = rows[start : start + size]
        batches.append({"rows": part, "end": part[-1][1] + 1})
        start += size
    return batches


@pytest.mark.parametrize("queries", SETS)
@pytest.mark.parametrize("mode", list(TimeMode))
@settings(max_examples=100, deadline=None)
@given(
    data=rows_strategy,
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    crashes=st.lists(st.booleans(), max_size=30),
)
def test_direct_source(mode, queries, data, sizes, crashes):
    batches = make_batches(data, sizes)

    def feed(task, batch):
        task.process(batch["rows"], end=batch["end"])

    assert run(batches, feed, None, mode, crashes, queries) == run(batches, feed, None, mode, [], queries)


@pytest.mark.parametrize("queries", SETS)
@settings(max_examples=100, deadline=None)
@given(
    data=rows_strategy,
    choice=st.lists(st.integers(0, 1), min_size=60, max_size=60),
    crashes=st.lists(st.booleans(), max_size=40),
    again=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_behind_a_repartition(queries, data, choice, crashes, again):
    """Two upstream partitions; some of their batches come twice, as after a crash of the upstream stage."""
    position, batches, offsets, highest, base = 0, [], [0, 0], [-1000, -1000], 0
    sent: list[list[tuple[int, int, str]]] = [[], []]
    for (offset, key), upstream, repeat in zip(data, choice, again, strict=False):
        base += 7
        sent[upstream].append((base + offset, offsets[upstream], key))
        offsets[upstream] += 1
        highest[upstream] = max(highest[upstream], base + offset - 20)
        replay = sent[upstream][-3:] if repeat else sent[upstream][-1:]
        rows = []
        for time, _, k in replay:
            rows.append((time, position, k, time))
            position += 1
        batches.append({"up": upstream, "rows": rows, "offsets": [o for _, o, _ in replay], "end": position})
        position += 1
        batches.append({"up": upstream, "mark": highest[upstream], "end": position})

    def feed(task, batch):
        if "mark" in batch:
            task.upstream_watermark(batch["up"], batch["mark"], end=batch["end"])
        else:
            task.process_from(batch["up"], batch["rows"], batch["offsets"], end=batch["end"])

    interrupted = run(batches, feed, [0, 1], TimeMode.ROWTIME, crashes, queries)
    assert interrupted == run(batches, feed, [0, 1], TimeMode.ROWTIME, [], queries)


@settings(max_examples=150, deadline=None)
@given(data=rows_strategy, sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_queries_beside_each_other_are_as_right_as_alone(data, sizes):
    """Each gets its rows, and late is what is so for one of them; however the rows are cut."""

    def feed(task, batch):
        task.process(batch["rows"], end=batch["end"])

    queries = ("pairs", *QUERIES)
    batches = make_batches(data, sizes)
    found, late = run(batches, feed, None, TimeMode.ROWTIME, [], queries)
    alone = [run(make_batches(data, [1]), feed, None, TimeMode.ROWTIME, [], (query,)) for query in queries]
    assert found == sorted([one for rows, _ in alone for one in rows], key=repr)
    assert late == sorted({row for _, rows in alone for row in rows})
    assert [row for query, row in found if query == "filter"] == sorted(
        [(row[2], row[3]) for batch in batches for row in batch["rows"] if row[2] == "a"], key=repr
    )
