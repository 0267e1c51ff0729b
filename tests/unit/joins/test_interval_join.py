"""Interval joins: bounds in all forms, both times behind them, what is held, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from anomaly_app import LimitError, Rows, SqlError, query
from anomaly_app.graph.interval_join import IntervalJoinRows
from anomaly_app.graph.operator import GraphOperator
from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_text
from anomaly_app.limits import Limits
from anomaly_app.operators import MAX_WATERMARK, Row
from anomaly_app.plan.nodes import IntervalJoin, walk
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, DataType, Kind, Schema

TIMESTAMP_LTZ_3 = DataType(Kind.TIMESTAMP_LTZ, 3)
SCHEMA = Schema(
    (Column("id", INT), Column("k", STRING), Column("v", INT), Column("ts", TIMESTAMP_3)),
    "ts",
    watermark_delay_ms=1_000,
)
TABLES = {"l": SCHEMA, "r": SCHEMA}
COLUMNS = [("id", "INT"), ("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
NEAR = "l a {} JOIN r b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '3' SECOND"


def table(*rows: tuple[int, str | None, int | None, float], delay_ms: int = 0) -> Rows:
    told = [(id_, key, value, f"2026-01-01 00:00:{second:06.3f}") for id_, key, value, second in rows]
    return Rows(columns=COLUMNS, rows=told, rowtime="ts", watermark_delay_ms=delay_ms)


LEFT = table((1, "a", 10, 5), (2, "b", 20, 7), (3, None, 30, 8), (4, "a", 40, 20))
RIGHT = table((11, "a", 1, 4), (12, "a", 2, 8), (13, "b", 3, 11), (14, None, 4, 9))


def node(condition: str) -> IntervalJoin | None:
    bound = bind_text(f"SELECT a.id, b.id AS other FROM l a JOIN r b ON {condition}", TABLES)
    return next((one for one in walk(bound.factory.node) if isinstance(one, IntervalJoin)), None)


@pytest.mark.parametrize(
    ("condition", "low", "high"),
    [
        ("b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '1' MINUTE", -5_000, 60_000),
        ("a.ts BETWEEN b.ts - INTERVAL '5' SECOND AND b.ts + INTERVAL '1' MINUTE", -60_000, 5_000),
        ("b.ts > a.ts - INTERVAL '5' SECOND AND b.ts < a.ts", -4_999, -1),
        ("a.ts - INTERVAL '5' SECOND <= b.ts AND a.ts >= b.ts", -5_000, 0),
        ("a.ts = b.ts", 0, 0),
        ("a.ts = b.ts + INTERVAL '1' SECOND", -1_000, -1_000),
        ("b.ts + INTERVAL '1' SECOND >= a.ts + INTERVAL '3' SECOND AND b.ts <= INTERVAL '9' SECOND + a.ts",
         2_000, 9_000),
        ("b.ts >= TIMESTAMPADD(SECOND, -5, a.ts) AND b.ts <= TIMESTAMPADD(MINUTE, 1, a.ts)", -5_000, 60_000),
        ("b.ts BETWEEN a.ts AND a.ts + INTERVAL '9' SECOND AND b.ts < a.ts + INTERVAL '2' SECOND", 0, 1_999),
        ("b.ts BETWEEN a.ts - INTERVAL '1' SECOND - INTERVAL '1' SECOND AND a.ts + 2 * INTERVAL '1' SECOND",
         -2_000, 2_000),
    ],
)  # fmt: skip
def test_bounds_in_all_forms(condition: str, low: int, high: int) -> None:
    found = node(f"a.k = b.k AND {condition}")
    assert found is not None
    assert (found.low, found.high, found.keys, found.condition) == (low, high, (("k", "k"),), None)


@pytest.mark.parametrize(
    "condition",
    [
        "b.ts > a.ts",
        "b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' MONTH",
        "b.ts NOT BETWEEN a.ts AND a.ts + INTERVAL '1' SECOND",
        "CAST(b.ts AS TIMESTAMP(3)) BETWEEN a.ts AND a.ts + INTERVAL '1' SECOND",
    ],
)
def test_what_bounds_no_time_on_both_sides_is_a_regular_join(condition: str) -> None:
    assert node(f"a.k = b.k AND {condition}") is None


def test_keys_may_be_expressions_and_null_may_equal_null() -> None:
    both = "b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '3' SECOND"
    found = node(f"UPPER(a.k) = b.k AND a.v IS NOT DISTINCT FROM b.v AND {both} AND a.id < b.id")
    assert found is not None
    assert (found.null_equal, found.condition is not None) == ((False, True), True)
    rows = query(
        f"SELECT a.id, b.id AS d FROM l a JOIN r b ON a.k IS NOT DISTINCT FROM b.k AND {both}", {"l": LEFT, "r": RIGHT}
    ).rows
    assert sorted(rows) == [(1, 11), (1, 12), (3, 14)]


@pytest.mark.parametrize(
    ("kind", "alone"),
    [("INNER", []), ("LEFT", [(2, None), (3, None), (4, None)]), ("RIGHT", [(None, 13), (None, 14)]),
     ("FULL", [(2, None), (3, None), (4, None), (None, 13), (None, 14)])],
)  # fmt: skip
def test_each_row_once(kind: str, alone: list[tuple[int | None, int | None]]) -> None:
    rows = query(f"SELECT a.id, b.id AS d FROM {NEAR.format(kind)}", {"l": LEFT, "r": RIGHT}).rows
    assert sorted(rows, key=str) == sorted([(1, 11), (1, 12), *alone], key=str)


WINDOWS = "SELECT window_end, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE j, DESCRIPTOR({}), INTERVAL '5' SECOND)) " \
          "GROUP BY window_start, window_end"  # fmt: skip
PATTERN = (
    "SELECT * FROM j MATCH_RECOGNIZE (ORDER BY {} MEASURES A.d AS d, B.d AS e PATTERN (A B) DEFINE B AS B.d > A.d)"
)
DETECTOR = (
    "SELECT d, r[1] AS r FROM (SELECT d, ML_DETECT_ANOMALIES(CAST(d AS DOUBLE), {0}, JSON_OBJECT('minTrainingSize' "
    "VALUE 3)) OVER (ORDER BY {0} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS r FROM j)"
)
JOIN = "SELECT d, c.id AS e FROM j JOIN l c ON j.k = c.k AND c.ts BETWEEN {} AND {} + INTERVAL '4' SECOND"


@pytest.mark.parametrize(
    ("sql", "by_left", "by_right"),
    [
        (WINDOWS, [2], [1, 1]),
        (PATTERN, [(11, 12)], [(11, 12)]),
        (DETECTOR, [11, 12], [11, 12]),
        (JOIN, [(11, 1), (12, 1)], [(11, 1)]),
    ],
)
def test_either_time_feeds_what_stands_above(sql: str, by_left: list[object], by_right: list[object]) -> None:
    view = f"CREATE VIEW j AS SELECT a.k, a.ts AS mine, b.ts AS theirs, b.id AS d FROM {NEAR.format('')};"
    for time, expected in (("mine", by_left), ("theirs", by_right)):
        rows = query(view + sql.format(time, time), {"l": LEFT, "r": RIGHT}).rows
        told = [row[-1] if sql == WINDOWS else row[0] if sql == DETECTOR else row for row in rows]
        assert told == expected, time


def test_rows_behind_an_outer_join_are_not_late_where_a_pattern_takes_them() -> None:
    """A row without partner comes when the watermark has passed it by the reach: that of the join trails by as much."""
    left = table(*((n, "a", n, n) for n in range(1, 9)))
    sql = (
        "SELECT * FROM (SELECT a.id, a.ts FROM l a LEFT JOIN r b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '9' "
        "SECOND AND a.ts) MATCH_RECOGNIZE (ORDER BY ts MEASURES A.id AS a, B.id AS b AFTER MATCH SKIP PAST LAST ROW "
        "PATTERN (A B) DEFINE B AS B.id = A.id + 1)"
    )
    result = query(sql, {"l": left, "r": table(*((n, "x", n, n) for n in range(1, 9)))})
    assert (result.rows, result.late_inside) == ([(1, 2), (3, 4), (5, 6), (7, 8)], [])


def operator(sql: str, limits: Limits | None = None) -> GraphOperator:
    bound = bind_text(sql, TABLES, limits=limits)
    made, _ = bound.factory.create_over({name: table_layout(SCHEMA, SCHEMA.columns[:2]) for name in ("l", "r")})
    return made


def test_rows_are_let_go_as_the_watermark_passes() -> None:
    join = operator(f"SELECT a.id, b.id AS d FROM {NEAR.format('LEFT')}")
    entries: dict[bytes, bytes | None] = {}
    left = [(1_000 * n, 2 * n, n, "a") for n in range(100)]
    right = [(1_000 * n, 2 * n + 1, n, "b") for n in range(100)]
    found = join.step([Flow(left, 90_000), Flow(right, 95_000)])
    entries.update(join.changes())
    # With the watermark at 90 s: of the left those from 87 s on, of the right those from 88 s on, or a little more.
    assert [finding.values for finding in found] == [(n, None) for n in range(87)]
    held = [
        kept.stretches.due for vertex in join.vertices if isinstance(vertex, IntervalJoinRows) for kept in vertex.kept
    ]
    assert 25 <= sum(len(rows) for due in held for rows in due.values()) <= 27
    assert len(entries) == 2, "one entry for the rows of each side"
    join.step([Flow([], MAX_WATERMARK), Flow([], MAX_WATERMARK)])
    gone = dict(join.changes())
    assert gone.keys() == entries.keys()
    assert set(gone.values()) == {None}


def crashing(sql: str, steps: list[list[Flow]], crash_at: Callable[[int], bool]) -> tuple[list[object], int]:
    """What a join gives whose process ends behind some steps, and how many entries were written."""
    join, stored, written, found = operator(sql), dict[bytes, bytes](), 0, list[object]()
    for number, flows in enumerate(steps):
        found += [finding.values for finding in join.step(flows)]
        for key, value in join.changes():
            written += 1
            if value is None:
                del stored[key]
            else:
                stored[key] = value
        if crash_at(number):
            join = operator(sql)
            join.restore(stored.items())
            join.resume_inputs([flow.watermark for flow in flows])
    return found, written


@pytest.mark.parametrize("kind", ["", "LEFT", "RIGHT", "FULL"])
def test_rows_in_blocks_are_held_and_let_go_as_if_each_stood_alone(kind: str) -> None:
    sql = f"SELECT a.id, b.id AS d FROM {NEAR.format(kind)}"
    draw = Random(3)
    steps: list[list[Flow]] = []
    position = 0
    for second in range(0, 120, 2):
        sides: list[list[Row]] = [[], []]
        for side in sides:
            for _ in range(draw.randrange(4)):
                position += 1
                time = 1_000 * second + draw.randrange(-500, 4_000)
                side.append((time, position, position, draw.choice(["a", "b", "c", None])))
        steps.append([Flow(side, 1_000 * second) for side in sides])
    plain, _ = crashing(sql, [*steps, [Flow([], MAX_WATERMARK)] * 2], lambda number: False)
    assert len(plain) > 50
    for every in (1, 3):
        found, _ = crashing(sql, [*steps, [Flow([], MAX_WATERMARK)] * 2], lambda number, n=every: number % n == 0)
        assert found == plain


def test_what_is_written_does_not_grow_with_the_number_of_rows() -> None:
    def steps(rows: int) -> list[list[Flow]]:
        made = []
        for n in range(40):
            left = [(1_000 * n + k, 2_000 * n + k, k, f"k{n}-{k}") for k in range(rows)]
            right = [(1_000 * n + k, 2_000 * n + rows + k, k, f"k{n - 1}-{k}") for k in range(rows)]
            made.append([Flow(left, 1_000 * n), Flow(right, 1_000 * n)])
        return made

    sql = f"SELECT a.id, b.id AS d FROM {NEAR.format('LEFT')}"
    (few, written), (many, written_of_many) = (crashing(sql, steps(rows), lambda number: False) for rows in (2, 200))
    assert len(many) == 100 * len(few)
    assert written == written_of_many < 6 * 40


def test_blocks_are_no_larger_than_a_record_may_be() -> None:
    join = operator(f"SELECT a.id, a.k, b.id AS d FROM {NEAR.format('LEFT')}")
    rows = [(1_000, n, n, "x" * 40_000 + str(n)) for n in range(7)] + [(1_000, 9, 9, "y" * 300_000)]
    join.step([Flow(rows, 0), Flow([], 0)])
    entries = dict(join.changes())
    sizes = [len(value) for value in entries.values() if value is not None]
    assert len(sizes) == 5 and max(sizes) < 301_000 and sorted(sizes)[-2] < 100_000
    again = operator(f"SELECT a.id, a.k, b.id AS d FROM {NEAR.format('LEFT')}")
    again.restore((key, value) for key, value in entries.items() if value is not None)
    again.resume_inputs([0, 0])
    found = again.step([Flow([], MAX_WATERMARK), Flow([], MAX_WATERMARK)])
    assert sorted(finding.values[0] for finding in found) == [0, 1, 2, 3, 4, 5, 6, 9]


def test_a_key_with_too_many_rows_is_counted_and_told_once() -> None:
    join = operator(f"SELECT a.id, b.id AS d FROM {NEAR.format('')}", Limits(rows_per_key=3))
    for n in range(6):
        join.step([Flow([(1_000, n, n, "hot")], 0), Flow([], 0)])
    assert join.counters.counts == {"join_row_limit": 3}
    ((error, rows),) = [(problem.error, problem.rows) for problem in join.problems]
    assert isinstance(error, LimitError)
    assert "3 rows of key 'hot'" in str(error) and "limits.rows_per_key" in str(error)
    assert rows[0][2] == 3
    assert len(join.step([Flow([], 0), Flow([(1_000, 9, 9, "hot")], 0)])) == 3
    assert join.crowded(1)


def test_a_condition_that_fails_tells_the_row_of_its_side() -> None:
    sql = "SELECT a.id, b.id AS d FROM l a JOIN r b ON a.k = b.k AND a.ts = b.ts AND 10 / b.id > 1"
    join = operator(sql)
    row = (1_000, 0, 5, "x")
    join.step([Flow([row], 0), Flow([(1_000, 1, 0, "x"), (1_000, 2, 2, "x")], 0)])
    (problem,) = join.problems
    assert problem.rows == [(1_000, 1, 0, "x")]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        (
            "SELECT a.id FROM l a JOIN (SELECT k, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts "
            "DESC) AS rn FROM r) WHERE rn = 1) b ON a.k = b.k AND a.ts = b.ts",
            "an interval join needs rows that are not taken back",
        ),
        (f"SELECT /*+ EARLY_FIRE('delay'='5s') */ a.id FROM {NEAR.format('LEFT')}", "EARLY_FIRE is not supported"),
        ("SELECT a.k FROM p a JOIN p b ON a.k = b.k AND a.at = b.at", "over processing time"),
        (f"SELECT ts FROM {NEAR.format('')}", "column 'ts' is ambiguous"),
    ],
)
def test_what_is_refused(sql: str, problem: str) -> None:
    tables = TABLES | {"p": Schema((Column("k", STRING), Column("at", TIMESTAMP_LTZ_3)), proctime="at")}
    with pytest.raises(SqlError, match=problem):
        bind_text(sql, tables)
