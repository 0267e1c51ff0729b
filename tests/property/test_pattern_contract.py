"""Pattern operators keep the operator contract: batches, restore, ids, write volume; alone and in a task."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings, strategies as st
from pattern_oracles import beyond, flink_case, standard_case

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.expressions.typed import Dialect
from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.task import PartitionTask, QuerySlot, TimeMode
from anomaly_app.limits import Limits
from anomaly_app.operators import Layout
from anomaly_app.schema import BIGINT, INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.testing.contract import check_contract

SCHEMA = Schema((Column("k", STRING), Column("v", INT), Column("n", BIGINT), Column("ts", TIMESTAMP_3)), rowtime="ts")
WITHIN = "WITHIN INTERVAL '0.050' SECOND"
SKIPS = ["SKIP PAST LAST ROW", "SKIP TO NEXT ROW", "SKIP TO FIRST B", "SKIP TO LAST B"]
TIMEOUTS, OUT = "ONE ROW PER MATCH SHOW TIMEOUT MATCHES", "MATCH_TIMED_OUT() AS late"
NO_SKIP = "NO SKIP"


def clause(
    pattern: str, define: str, *, skip: str = "SKIP PAST LAST ROW", rows: str = "ONE ROW PER MATCH", measures=""
):
    more = f", {measures}" if measures else ""
    return (
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts "
        f"MEASURES LAST(A.n) AS a, LAST(B.n) AS b, COUNT(A.v) AS c{more} {rows} AFTER MATCH {skip} "
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
    "next in time, greedy": ("standard", clause(f"A B* {WITHIN}", "A AS A.v > NEXT(A.v), B AS B.v > 3")),
    "next in time, greedy, sums": ("standard", clause(f"A B* {WITHIN}", "A AS A.v > NEXT(A.v), B AS B.v < SUM(B.v)")),
    "first row": ("standard", clause(f"^ A B {WITHIN}", "A AS A.v > 3, B AS B.v > 3")),
    "first row ever": ("standard", clause("^ A B", "A AS A.v > 3, B AS B.v > 3")),
    "last row": ("standard", clause(f"A+ B $ {WITHIN}", "A AS A.v > 2")),
    "greedy": ("standard", clause("A+ B", "A AS A.v > 2, B AS B.v > 4", measures="MATCH_NUMBER() AS m")),
    "choice": ("standard", clause(f"A (B | A B)+ {WITHIN}", "A AS A.v > 2, B AS B.v > 4")),
    "unmatched": (
        "standard",
        clause(f"A B {WITHIN}", "A AS A.v > 3", rows="ALL ROWS PER MATCH WITH UNMATCHED ROWS", skip="SKIP TO NEXT ROW"),
    ),
    "unmatched ever": (
        "standard",
        clause("A B", "A AS A.v > 3", rows="ALL ROWS PER MATCH WITH UNMATCHED ROWS", skip="SKIP TO NEXT ROW"),
    ),
    "empty": ("standard", clause("A* B?", "A AS A.v > 6", rows="ALL ROWS PER MATCH", measures="MATCH_NUMBER() AS m")),
    "time-outs": ("flink", clause(f"A B+? C {WITHIN}", "A AS A.v > 3, C AS C.v > 7", rows=TIMEOUTS, measures=OUT)),
    "time-outs of all rows": (
        "standard",
        clause(f"A (B | C)* D {WITHIN}", "D AS D.v > 7", rows=TIMEOUTS.replace("ONE ROW", "ALL ROWS"), measures=OUT),
    ),
    "time-outs, numbers": (
        "standard",
        clause(f"A+? B {WITHIN}", "B AS B.v > 7", rows=TIMEOUTS, measures=f"{OUT}, MATCH_NUMBER() AS m"),
    ),
    "time-outs, neighbours": (
        "standard",
        clause(f"A B* C {WITHIN}", "A AS A.v > PREV(A.v), C AS C.v < PREV(C.v, 2)", rows=TIMEOUTS, measures=OUT),
    ),
    "time-outs, next": ("standard", clause(f"A B* C {WITHIN}", "C AS C.v > NEXT(C.v)", rows=TIMEOUTS, measures=OUT)),
    "time-outs at the end": ("standard", clause(f"A+ B $ {WITHIN}", "A AS A.v > 2", rows=TIMEOUTS, measures=OUT)),
    "absence": ("flink", clause(f"A B* NOT C {WITHIN}", "B AS B.v > 2, C AS C.v > SUM(B.v)")),
    "absence of any row": ("standard", clause(f"A B? NOT C {WITHIN}", "B AS B.v > 3", measures="MATCH_NUMBER() AS m")),
    "absence, neighbours": ("flink", clause(f"A B+? NOT C {WITHIN}", "A AS A.v > PREV(A.v), C AS C.v = 9")),
    "absence, next": ("standard", clause(f"A B+ NOT C {WITHIN}", "C AS C.v > NEXT(C.v), B AS B.v > 3", rows=TIMEOUTS)),
    "no skip": (
        "flink",
        clause(f"A+? B {WITHIN}", "B AS B.v > AVG(A.v)", skip=NO_SKIP, measures="MATCH_NUMBER() AS m"),
    ),
    "no skip, no time": ("standard", clause("A (B | C){1,3} D", "A AS A.v > 7, D AS D.v > FIRST(B.v)", skip=NO_SKIP)),
    "no skip, neighbours": ("standard", clause(f"A B+ {WITHIN}", "B AS B.v > PREV(B.v, 2)", skip=NO_SKIP)),
    "no skip, next": ("standard", clause("A B{1,2}", "B AS B.v > NEXT(B.v)", skip=NO_SKIP)),
    "no skip, first and last row": ("standard", clause(f"^ A B* | C+ D $ {WITHIN}", "C AS C.v > 2", skip=NO_SKIP)),
    "no skip, time-outs": (
        "standard",
        clause(f"A B+ C {WITHIN}", "A AS A.v > PREV(A.v), C AS C.v > 7", skip=NO_SKIP, rows=TIMEOUTS, measures=OUT),
    ),
    "no skip, absence": (
        "flink",
        clause(f"A B+? NOT C {WITHIN}", "A AS A.v > 2, C AS C.v > SUM(B.v)", skip=NO_SKIP, rows=TIMEOUTS, measures=OUT),
    ),
    **{skip.lower(): ("flink", clause(f"A B+? C {WITHIN}", "B AS B.v > 2", skip=skip)) for skip in SKIPS},
    **{f"{skip.lower()}, no time": ("flink", clause("A B+? C", "C AS C.v > LAST(B.v)", skip=skip)) for skip in SKIPS},
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
    rule = bound.factory.rule
    rule.single_run, rule.automaton = fast
    order = rule.order_key(bound.layout)
    given = made(rows, trailing=trailing)
    time = "$" not in RULES[name][1]  # whether the end of the input or that of WITHIN comes first makes a difference
    check_contract(lambda: rule.create(bound.layout), given, order=order, seed=seed, time=time)


@pytest.mark.parametrize("name", ["sales", "neighbours"])
def test_no_held_row_is_written_again(name):
    """One key, a hundred rows of an open attempt, one at a time."""
    bound = factory(name)
    rows = [(1_000 + number // 3, number, "x", 2, number, 1_000) for number in range(100)]
    check_contract(lambda: bound.factory.rule.create(bound.layout), rows)


@pytest.mark.parametrize("name", ["sales", "sales without time", "pairs"])
@settings(max_examples=60, deadline=None)
@given(rows=data, most=st.integers(1, 6), seed=st.integers(0, 99), fast=st.tuples(st.booleans(), st.booleans()))
def test_limits_do_not_depend_on_batches(name, rows, most, seed, fast):
    bound = bind_text(RULES[name][1], {"t": SCHEMA}, limits=Limits(rows_per_key=most))
    rule = bound.factory.rule
    rule.single_run, rule.automaton = fast
    check_contract(lambda: rule.create(bound.layout), made(rows), seed=seed)


def run_task(name, batches, crashes):
    """Findings of a task that is killed after some batches and restored from its last checkpoint."""
    bound = factory(name)

    def fresh():
        slots = [QuerySlot("q", bound.factory.create(bound.layout), needs_order=bound.factory.needs_order)]
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


def in_order(name, rows, arrival, delay_ms):
    """Findings of a task that gets rows in some order of arrival, told by what the rows say, not by where they came."""
    bound = factory(name)
    slots = [QuerySlot("q", bound.factory.create(bound.layout), needs_order=bound.factory.needs_order)]
    task = PartitionTask(slots, delay_ms=delay_ms, mode=TimeMode.ROWTIME)
    for position, row in enumerate(arrival):
        task.process([(rows[row][0], position, *rows[row][2:])], end=position + 1)
    task.finish()
    output = task.take()
    assert not output.late
    return [(f.values, f.time, [(label, row[2:]) for label, row in f.bindings]) for _, f in output.findings]


@pytest.mark.parametrize("name", [name for name, (_, sql) in RULES.items() if "$" not in sql])
@settings(max_examples=20, deadline=None)
@given(rows=data, delays=st.lists(st.integers(0, 39), min_size=25, max_size=25))
def test_rows_shuffled_within_the_delay_of_the_watermark_give_the_same(name, rows, delays):
    rows = made([(gap + 1, key, value) for gap, key, value in rows])  # of equal times the first to come is the first
    arrival = sorted(range(len(rows)), key=lambda row: rows[row][0] + delays[row])
    shuffled = in_order(name, rows, arrival, 40)  # what the end of the input decides comes in order of arrival
    assert sorted(shuffled, key=repr) == sorted(in_order(name, rows, range(len(rows)), 0), key=repr)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=10, deadline=None)
@given(rows=data)
def test_a_file_gives_what_a_stream_gives(name, rows):
    dialect, sql = RULES[name]
    rows = made(rows)
    columns = [("k", "STRING"), ("v", "INT"), ("n", "BIGINT"), ("ts", "TIMESTAMP(3)")]
    epoch = datetime(1970, 1, 1)
    given = [(*row[2:5], epoch + timedelta(milliseconds=row[0])) for row in rows]
    result = query(sql, {"t": Rows(columns, given, "ts", 1)}, dialect=dialect)

    def memory(value):
        return (value - epoch) // timedelta(milliseconds=1) if isinstance(value, datetime) else value

    stream = [values for values, *_ in in_order(name, rows, range(len(rows)), 1)]
    assert [tuple(map(memory, row)) for row in result.rows] == stream


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=150, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 1 << 60), rows=data)
def test_random_patterns_keep_the_contract(dialect, seed, rows):
    choose = Random(seed)
    plain = flink_case if dialect is Dialect.FLINK else standard_case
    clause, *_ = plain(choose) if choose.random() < 0.5 else beyond(choose, dialect)
    try:
        rule = clause.rule(dialect)
    except SqlValidationError:
        return
    rule.single_run, rule.automaton = choose.random() < 0.5, choose.random() < 0.5
    layout = Layout(SCHEMA.columns)
    check_contract(lambda: rule.create(layout), made(rows), seed=seed)
