"""A query over partitions of tables in one place: the rows of ``query()``, whatever partition they come from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from anomaly_app import Rows, query
from anomaly_app.changes import rows_left
from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.live_task import LiveTable, LiveTask
from anomaly_app.operators import Finding, Layout
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.rows import schema_of
from anomaly_app.schema import Changelog

COLUMNS = [("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
PATTERN = """SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.v AS a, B.v AS b
    AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.v > A.v)"""
WINDOW = """SELECT k, window_start, COUNT(*) AS n, SUM(v) AS s
    FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end"""
SELF = """SELECT a.k, a.v, b.n FROM
    (SELECT k, v, window_start, window_end FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND))) a JOIN
    (SELECT window_start, window_end, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND))
     GROUP BY window_start, window_end) b
    ON a.window_start = b.window_start AND a.window_end = b.window_end"""

GROUPS = "SELECT k, COUNT(*) AS n, AVG(v) AS a FROM t GROUP BY k"
WITH_AVERAGE = """SELECT s.k, s.v, u.a FROM t s JOIN (SELECT k, AVG(v) AS a FROM t GROUP BY k) u ON s.k = u.k
    WHERE s.v > u.a * 1.5"""


def _rows(count: int, seed: int = 1) -> list[tuple[str, int, int]]:
    random_ = random.Random(seed)
    times = sorted(random_.randrange(20_000) for _ in range(count))
    return [(random_.choice("abc"), random_.randrange(10), time) for time in times]


def _table(rows: Sequence[tuple[str, int, int]], delay_ms: int = 500) -> Rows:
    texts = [(k, v, f"1970-01-01 00:00:{time // 1000:02}.{time % 1000:03}") for k, v, time in rows]
    return Rows(COLUMNS, texts, rowtime="ts", watermark_delay_ms=delay_ms)


def _task(sql: str, table: Rows, partitions: int) -> tuple[LiveTask, PlannedQuery]:
    schema = schema_of(table)
    factory = bind_text(sql, {"t": schema}).factory
    return LiveTask(factory, {"t": LiveTable(schema, Layout(schema.columns), range(partitions))}), factory


def _live(sql: str, rows: Sequence[tuple[str, int, int]], partitions: int, batch: int) -> list[Any]:
    """Rows spread over partitions, read in turns of ``batch``, until their end."""
    task, _ = _task(sql, _table(rows), partitions)
    waiting = [
        [(time, offset, k, v, time) for offset, (k, v, time) in enumerate(rows[number::partitions])]
        for number in range(partitions)
    ]
    found = []
    while any(waiting):
        for number, own in enumerate(waiting):
            if own:
                task.process("t", number, own[:batch])
                del own[:batch]
                found += task.take().findings
    task.finish()
    output = task.take()
    assert not output.late and not output.problems
    return _left(found + output.findings)


def _left(findings: Sequence[tuple[int, Finding]]) -> list[Any]:
    return sorted(rows_left([(finding.change, finding.values) for _, finding in findings]))


def _expected(sql: str, rows: Sequence[tuple[str, int, int]]) -> list[Any]:
    result = query(sql, {"t": _table(rows)})
    times = [number for number, (_, type_) in enumerate(result.columns) if type_.startswith("TIMESTAMP")]
    return sorted(
        tuple(
            round((cell - cell.__class__(1970, 1, 1)).total_seconds() * 1000) if number in times else cell
            for number, cell in enumerate(row)
        )
        for row in result.rows
    )


QUERIES = {"pattern": PATTERN, "window": WINDOW, "self": SELF, "groups": GROUPS, "average": WITH_AVERAGE}


@pytest.mark.parametrize("sql", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize(("partitions", "batch"), [(1, 1), (1, 1_000), (3, 7), (5, 1_000)])
def test_the_rows_are_those_of_query(sql: str, partitions: int, batch: int) -> None:
    rows = _rows(200)
    assert _live(sql, rows, partitions, batch) == _expected(sql, rows) != []


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_late_row_is_late_however_rows_come_together(batch: int) -> None:
    rows = [("a", 1, 1_000), ("a", 2, 5_000), ("a", 3, 1_200), ("a", 4, 5_100)]
    task, _ = _task(PATTERN, _table(rows), 1)
    given = [(time, offset, k, v, time) for offset, (k, v, time) in enumerate(rows)]
    late, found = [], []
    for first in range(0, len(given), batch):
        task.process("t", 0, given[first : first + batch])
        output = task.take()
        late += output.late
        found += output.findings
    task.finish()
    found += task.take().findings
    assert [row[3] for row in late] == [3]
    assert [finding.values for _, finding in found] == [("a", 1, 2)]


@pytest.mark.parametrize("sql", [WINDOW, SELF], ids=["one scan", "two scans"])
def test_an_idle_partition_holds_nobody_back(sql: str) -> None:
    task, _ = _task(sql, _table([]), 2)
    task.process("t", 0, [(100, 0, "a", 1, 100), (9_000, 1, "a", 1, 9_000)])
    assert task.take().findings == []
    task.idle("t", 1)
    assert len(task.take().findings) == 1
    task.process("t", 1, [(9_500, 0, "b", 1, 9_500)])
    task.process("t", 0, [(20_000, 2, "a", 1, 20_000)])
    assert task.take().findings == []  # it is not idle any more
    task.idle("t", 1)
    assert {finding.values[0] for _, finding in task.take().findings} == {"a", "b"}


def test_windows_over_processing_time_end_by_the_clock() -> None:
    sql = """SELECT COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(p), INTERVAL '1' SECOND))
        GROUP BY window_start, window_end"""
    table = Rows([("v", "INT")], proctime="p")
    schema = schema_of(table)
    factory = bind_text(sql, {"t": schema}).factory
    task = LiveTask(factory, {"t": LiveTable(schema, Layout(schema.columns), (0, 1))})
    task.process("t", 0, [(1_000, 0, 1, 1_000), (1_000, 1, 2, 1_000)])
    task.clock(1_500)
    assert task.take().findings == []
    task.clock(2_000)
    assert [finding.values for _, finding in task.take().findings] == [(2,)]


@pytest.mark.parametrize("sql", QUERIES.values(), ids=QUERIES)
def test_letting_go_what_a_checkpoint_would_need_changes_nothing(sql: str) -> None:
    rows = _rows(60)
    task, _ = _task(sql, _table(rows), 1)
    found = []
    for offset, (k, v, time) in enumerate(rows):
        task.process("t", 0, [(time, offset, k, v, time)])
        task.forget()
        found += task.take().findings
    task.finish()
    found += task.take().findings
    assert _left(found) == _expected(sql, rows)


def test_both_rows_of_an_update_come_though_the_second_is_behind_the_watermark() -> None:
    columns = [("k", "STRING"), ("ts", "TIMESTAMP(3)")]
    given = replace(schema_of(Rows(columns, [], rowtime="ts")), changelog=Changelog.ALL)
    factory = bind_text("SELECT k FROM t", {"t": given}).factory
    task = LiveTask(factory, {"t": LiveTable(given, table_layout(given, given.columns), (0,))})
    # The row that goes is later than the one that comes; both stand at one offset.
    task.process("t", 0, [(9_000, 5, "a", 9_000, 0), (9_500, 6, "a", 9_500, 1), (100, 6, "b", 100, 2)])
    found = [(finding.change, finding.values) for _, finding in task.take().findings]
    assert found == [(0, ("a",)), (1, ("a",)), (2, ("b",))]


def test_both_sides_of_a_self_join_take_rows_in_one_step() -> None:
    task, _ = _task(WITH_AVERAGE, _table([]), 1)
    task.process("t", 0, [(0, 0, "a", 1, 0), (0, 1, "a", 1, 0), (0, 2, "a", 9, 0)])
    assert [(finding.change, finding.values) for _, finding in task.take().findings] == [(0, ("a", 9, 3))]


def test_a_table_that_stands_still_holds_the_other_back_until_it_is_idle() -> None:
    table = _table([])
    schema = schema_of(table)
    sql = """SELECT t.v, u.v AS w FROM t JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts AND t.ts + INTERVAL '1' SECOND"""
    outer = sql.replace("JOIN", "LEFT JOIN")
    factory = bind_text(outer, {"t": schema, "u": schema}).factory
    tables = {name: LiveTable(schema, Layout(schema.columns), (0,)) for name in "tu"}
    task = LiveTask(factory, tables)
    task.process("t", 0, [(1_000, 0, "a", 1, 1_000), (9_000, 1, "a", 2, 9_000)])
    assert task.take().findings == []
    task.idle("u", 0)
    assert [finding.values for _, finding in task.take().findings] == [(1, None)]
    task.process("u", 0, [(9_100, 0, "a", 7, 9_100)])
    assert [finding.values for _, finding in task.take().findings] == [(2, 7)]
