"""Pattern operators keep the operator contract: batches, restore, ids, write volume; alone and in a task."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.task import PartitionTask, QuerySlot, TimeMode
from anomaly_app.patterns.rule import Limits
from anomaly_app.schema import BIGINT, INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.testing.contract import check_contract

SCHEMA = Schema((Column("k", STRING), Column("v", INT), Column("n", BIGINT), Column("ts", TIMESTAMP_3)), rowtime="ts")
WITHIN = "WITHIN INTERVAL '0.050' SECOND"
SKIPS = ["PAST LAST ROW", "TO NEXT ROW", "TO FIRST B", "TO LAST B"]


def clause(pattern: str, define: str, *, skip: str = "PAST LAST ROW", rows: str = "ONE ROW PER MATCH", measures=""):
    more = f", {measures}" if measures else ""
    return (
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts "
        f"MEASURES LAST(A.n) AS a, LAST(B.n) AS b, COUNT(A.v) AS c{more} {rows} AFTER MATCH SKIP {skip} "
        f"PATTERN ({pattern.replace(' WITHIN', ') WITHIN') if 'WITHIN' in pattern else pattern + ')'} DEFINE {define})"
    )


SALES = clause(f"A+? B {WITHIN}", "B AS B.v > AVG(A.v) * 3")
RULES = {
    "sales": ("flink", SALES),
    "sales without time": ("flink", clause("A+? B", "B AS B.v > AVG(A.v) * 3")),
    "pairs": ("flink", clause(f"A B {WITHIN}", "B AS B.n >= 0")),
    "numbers": ("standard", clause(f"A+? B {WITHIN}", "B AS B.v > 5", measures="MATCH_NUMBER() AS m")),
    "further order": ("flink", clause(f"A B {WITHIN}", "B AS B.v > 2").replace("BY ts", "BY ts, v DESC")),
    "further order, no time": ("flink", clause("A B", "B AS B.v > 2").replace("BY ts", "BY ts, v DESC")),
    "neighbours": ("standard", clause("A B", "A AS A.v > PREV(A.v), B AS B.v < PREV(B.v, 2)")),
    "neighbour or none": ("standard", clause("A B", "A AS A.v > 6 OR PREV(A.v) IS NULL, B AS B.v > 2")),
    "neighbours in time": ("standard", clause(f"A B {WITHIN}", "A AS A.v > PREV(A.v), B AS B.v < PREV(B.v, 2)")),
    "next": ("standard", clause("A B", "A AS A.v > NEXT(A.v), B AS B.v > 3")),
    "next in time": ("standard", clause(f"A B {WITHIN}", "A AS A.v > NEXT(A.v), B AS B.v > 3")),
    "first row": ("standard", clause(f"^ A B {WITHIN}", "A AS A.v > 3, B AS B.v > 3")),
    "first row ever": ("standard", clause("^ A B", "A AS A.v > 3, B AS B.v > 3")),
    "last row": ("standard", clause(f"A+ B $ {WITHIN}", "A AS A.v > 2")),
    "greedy": ("standard", clause("A+ B", "A AS A.v > 2, B AS B.v > 4", measures="MATCH_NUMBER() AS m")),
    "choice": ("standard", clause(f"A (B | A B)+ {WITHIN}", "A AS A.v > 2, B AS B.v > 4")),
    "unmatched": (
        "standard",
        clause(f"A B {WITHIN}", "A AS A.v > 3", rows="ALL ROWS PER MATCH WITH UNMATCHED ROWS", skip="TO NEXT ROW"),
    ),
    "unmatched ever": (
        "standard",
        clause("A B", "A AS A.v > 3", rows="ALL ROWS PER MATCH WITH UNMATCHED ROWS", skip="TO NEXT ROW"),
    ),
    "empty": ("standard", clause("A* B?", "A AS A.v > 6", rows="ALL ROWS PER MATCH", measures="MATCH_NUMBER() AS m")),
    **{f"skip {skip}": ("flink", clause(f"A B+? C {WITHIN}", "B AS B.v > 2", skip=skip)) for skip in SKIPS},
    **{f"skip {skip}, no time": ("flink", clause("A B+? C", "C AS C.v > LAST(B.v)", skip=skip)) for skip in SKIPS},
}

data = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from("xy"), st.one_of(st.none(), st.integers(0, 9))), max_size=25
)


def made(rows, *, trailing: tuple[Any, ...] = ()):
    """(gap in ms, key, value) to rows in event-time order; what trails a row must survive."""
    time, out = 1_000, []
    for position, (gap, key, value) in enumerate(rows):
        time += gap
        out.append((time, position, key, value, position, time, *trailing))
    return out


def factory(name: str):
    dialect, sql = RULES[name]
    return bind_text(sql, {"t": SCHEMA}, dialect)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=40, deadline=None)
@given(
    rows=data,
    trailing=st.sampled_from([(), (3, 77)]),
    seed=st.integers(0, 99),
    fast=st.tuples(st.booleans(), st.booleans()),
)
def test_contract(name, rows, trailing, seed, fast):
    bound = factory(name)
    bound.factory.single_run, bound.factory.automaton = fast
    order = bound.factory.order_key(bound.layout)
    check_contract(lambda: bound.factory.create(bound.layout), made(rows, trailing=trailing), order=order, seed=seed)


@pytest.mark.parametrize("name", ["sales", "neighbours"])
def test_no_held_row_is_written_again(name):
    """One key, a hundred rows of an open attempt, one at a time."""
    bound = factory(name)
    rows = [(1_000 + number // 3, number, "x", 2, number, 1_000) for number in range(100)]
    check_contract(lambda: bound.factory.create(bound.layout), rows)


@pytest.mark.parametrize("name", ["sales", "sales without time", "pairs"])
@settings(max_examples=60, deadline=None)
@given(rows=data, most=st.integers(1, 6), seed=st.integers(0, 99), fast=st.tuples(st.booleans(), st.booleans()))
def test_limits_do_not_depend_on_batches(name, rows, most, seed, fast):
    bound = bind_text(RULES[name][1], {"t": SCHEMA}, limits=Limits(rows_per_key=most))
    bound.factory.single_run, bound.factory.automaton = fast
    check_contract(lambda: bound.factory.create(bound.layout), made(rows), seed=seed)


def run_task(name, batches, crashes):
    """Findings of a task that is killed after some batches and restored from its last checkpoint."""
    bound = factory(name)

    def fresh():
        slots = [QuerySlot("q", bound.factory.create(bound.layout), order_key=bound.factory.order_key(bound.layout))]
        return PartitionTask(slots, delay_ms=20, mode=TimeMode.ROWTIME)

    task, stored, entries = fresh(), Checkpoint(), {}
    written: list[Any] = []
    number = 0
    crashes = [*crashes, False]
    while number < len(batches):
        rows, end = batches[number]
        task.process(rows, end=end)
        number += 1
        if crashes and crashes.pop(0):
            task = fresh()
            position = task.restore(Checkpoint.decode(stored.encode()), dict(entries))
            number = next((n for n, (_, end) in enumerate(batches) if end > position), len(batches))
            continue
        output = task.take()
        stored, changes = task.checkpoint()
        for key, value in changes:
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        written += output.findings
    task.finish()
    written += task.take().findings
    return sorted((f.key, f.last, f.number, f.values, tuple(f.bindings)) for _, f in written)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25, deadline=None)
@given(
    rows=data,
    offsets=st.lists(st.integers(0, 40), min_size=25, max_size=25),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    crashes=st.lists(st.booleans(), max_size=20),
)
def test_a_task_that_is_killed_gives_each_finding_once(name, rows, offsets, sizes, crashes):
    shuffled = [(row[0] + offset, *row[1:5], row[0] + offset) for row, offset in zip(made(rows), offsets, strict=False)]
    batches, start = [], 0
    while start < len(shuffled):
        part = shuffled[start : start + sizes[len(batches) % len(sizes)]]
        batches.append((part, part[-1][1] + 1))
        start += len(part)
    assert run_task(name, batches, crashes) == run_task(name, batches, [])
