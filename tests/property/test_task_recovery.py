"""A task that is killed and restored from its last checkpoint gives what an undisturbed one gives, each once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.task import PartitionTask, QuerySlot, TimeMode
from anomaly_app.operators import Counters, Finding, Problem, Row

WITHIN_MS = 50


class PairsWithin:
    """Finds, per key, disjoint pairs of neighbouring rows less than WITHIN_MS apart; what it consumed is state."""

    keeps_rows = False

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.counters = Counters()
        self.open: dict[str, Row] = {}
        self.consumed: dict[str, tuple[int, int]] = {}
        self.changed: set[str] = set()
        self.watermark = -(1 << 63)

    def process(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
        found = []
        for row in rows:
            time, position, key = row
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

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        changed, self.changed = self.changed, set()
        return [(key.encode(), b"%d %d" % self.consumed[key]) for key in changed]

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in state:
            time, position = value.split()
            self.consumed[key.decode()] = (int(time), int(position))

    def oldest_time(self) -> int | None:
        return min((row[0] for row in self.open.values() if row[0] + WITHIN_MS > self.watermark), default=None)


def fresh(upstreams: Sequence[int] | None, mode: TimeMode) -> PartitionTask:
    return PartitionTask([QuerySlot("pairs", PairsWithin())], delay_ms=20, upstreams=upstreams, mode=mode)


times = st.integers(0, 60)
rows_strategy = st.lists(st.tuples(times, st.sampled_from("ab")), min_size=1, max_size=60)


def run(batches, feed, upstreams, mode, crashes: Sequence[bool]):
    task, stored, entries = fresh(upstreams, mode), Checkpoint(), {}
    written: list[tuple] = []
    late: list[Row] = []
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
            task = fresh(upstreams, mode)
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
            written += [f.values for _, f in output.findings]
            late += output.late
    task.finish()
    output = task.take()
    return sorted(written + [f.values for _, f in output.findings]), sorted(late + output.late)


def make_batches(data, sizes):
    rows, start, batches = [], 0, []
    base = 0
    for position, (offset, key) in enumerate(data):
        base += 7
        rows.append((base + offset, position, key))
    while start < len(rows):
        size = sizes[len(batches) % len(sizes)]
        part = rows[start : start + size]
        batches.append({"rows": part, "end": part[-1][1] + 1})
        start += size
    return batches


@pytest.mark.parametrize("mode", list(TimeMode))
@settings(max_examples=150, deadline=None)
@given(
    data=rows_strategy,
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    crashes=st.lists(st.booleans(), max_size=30),
)
def test_direct_source(mode, data, sizes, crashes):
    batches = make_batches(data, sizes)

    def feed(task, batch):
        task.process(batch["rows"], end=batch["end"])

    assert run(batches, feed, None, mode, crashes) == run(batches, feed, None, mode, [])


@settings(max_examples=150, deadline=None)
@given(
    data=rows_strategy,
    choice=st.lists(st.integers(0, 1), min_size=60, max_size=60),
    crashes=st.lists(st.booleans(), max_size=40),
    again=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_behind_a_repartition(data, choice, crashes, again):
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
            rows.append((time, position, k))
            position += 1
        batches.append({"up": upstream, "rows": rows, "offsets": [o for _, o, _ in replay], "end": position})
        position += 1
        batches.append({"up": upstream, "mark": highest[upstream], "end": position})

    def feed(task, batch):
        if "mark" in batch:
            task.upstream_watermark(batch["up"], batch["mark"], end=batch["end"])
        else:
            task.process_from(batch["up"], batch["rows"], batch["offsets"], end=batch["end"])

    interrupted = run(batches, feed, [0, 1], TimeMode.ROWTIME, crashes)
    assert interrupted == run(batches, feed, [0, 1], TimeMode.ROWTIME, [])
