"""Graphs of all kinds of vertices keep the operator contract: any batches, restored behind any row, ids, writes."""

from __future__ import annotations

import random

import pytest
from sample_detector import use_sample_functions

from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import Layout
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.sql import parse_type
from anomaly_app.testing.contract import check_arrivals, check_contract

COLUMNS = (
    Column("k", STRING),
    Column("v", INT),
    Column("w", INT),
    Column("items", parse_type("ARRAY<INT>")),
    Column("ts", TIMESTAMP_3),
)
SCHEMA = Schema(COLUMNS, rowtime="ts", watermark_delay_ms=20)
OVER = "OVER (PARTITION BY k ORDER BY ts{})"
TUMBLE = "FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0.02' SECOND)"
HOP = "FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '0.02' SECOND, INTERVAL '0.06' SECOND)"
EDGES = "window_start, window_end"
GROUPS = f"SELECT k, {EDGES}, window_time, SUM(v) AS s, COUNT(*) AS n {TUMBLE} GROUP BY k, {EDGES}, window_time"
MATCH = """t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.v AS a, B.v AS b, MATCH_ROWTIME() AS ts
    PATTERN (A B) WITHIN INTERVAL '0.03' SECOND DEFINE A AS A.v > 1, B AS B.v > A.v)"""


def over(call: str, frame: str = "") -> str:
    return f"SELECT k, v, ts, {call} {OVER.format(frame)} AS r FROM t"


def ranked(source: str, keys: str, order: str, bound: str, columns: str = "k, v") -> str:
    numbered = f"ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {order}) AS n"
    return f"SELECT {columns}, n FROM (SELECT *, {numbered} {source}) WHERE n {bound}"


def detector(value: str, source: str, keys: str = "PARTITION BY k ", time: str = "ts") -> str:
    call = f"ML_DETECT_ANOMALIES({value}, {time}, JSON_OBJECT('minTrainingSize' VALUE 2, 'width' VALUE 1))"
    return f"SELECT {time}, {value} AS v, {call} OVER ({keys}ORDER BY {time}) AS r FROM {source}"


RANGE = " RANGE BETWEEN INTERVAL '0.03' SECOND PRECEDING AND CURRENT ROW"
ROWS = " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW"
QUERIES = {
    "over a span": over("SUM(v)", RANGE),
    "over rows": over("MAX(v)", ROWS),
    "over rows, with an order": over("LAST_VALUE(v)", ROWS),
    "over all before": over("SUM(v)"),
    "over all rows before": over("COUNT(*)", " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"),
    "over all, FIRST_VALUE": over("FIRST_VALUE(v)"),
    "over a span, median": over("MEDIAN(v)", RANGE),
    "over a span, distinct values": over("ARRAY_AGG(v)", RANGE),
    "over all keys": over("SUM(v)", RANGE).replace("PARTITION BY k ", ""),
    "LAG": over("LAG(v)"),
    "LAG with default": over("LAG(v, 2, w)"),
    "several OVER": f"SELECT k, SUM(v) {OVER.format(RANGE)} AS a, LAG(w) {OVER.format('')} AS b, "
    f"MIN(v) {OVER.format(ROWS)} AS c FROM t",
    "OVER above OVER": f"SELECT k, SUM(r) {OVER.format(RANGE)} AS x FROM ({over('LAG(v)')})",
    "OVER, filtered": f"SELECT * FROM ({over('AVG(v)', RANGE)}) WHERE r > 1",
    "QUALIFY": f"SELECT k, v FROM t QUALIFY LAG(v) {OVER.format('')} < v",
    "keep first": ranked("FROM t", "k", "ts", "= 1"),
    "keep first of two keys": ranked("FROM t", "k, w", "ts", "= 1"),
    "keep first of all": "SELECT v FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY ts) = 1",
    "first three": ranked("FROM t", "k", "ts", "<= 3"),
    "numbers": f"SELECT k, v, ROW_NUMBER() {OVER.format('')} AS n FROM t",
    "best of windows": ranked(TUMBLE, f"{EDGES}, k", "v DESC", "<= 2"),
    "second best of windows": ranked(HOP, EDGES, "v, w DESC", "BETWEEN 2 AND 3"),
    "last of windows": ranked(TUMBLE, f"{EDGES}, k", "ts DESC", "= 1"),
    "best groups": ranked(f"FROM ({GROUPS})", EDGES, "s DESC", "<= 1", "k, s"),
    "sorted": "SELECT k, v, w, ts FROM t ORDER BY ts, v DESC, w",
    "limit": "SELECT k, v FROM t LIMIT 5",
    "offset": "SELECT k, v FROM t WHERE v > 0 LIMIT 4 OFFSET 3",
    "windows of windows": f"SELECT {EDGES}, MAX(s) AS m, COUNT(*) AS c FROM ({GROUPS}) GROUP BY {EDGES}",
    "larger windows of windows": f"""SELECT window_start, SUM(s) AS m FROM TABLE(TUMBLE(TABLE (
        SELECT k, window_time AS at, s FROM ({GROUPS})), DESCRIPTOR(at), INTERVAL '0.06' SECOND))
        GROUP BY {EDGES}""",
    "distinct in windows": f"SELECT DISTINCT k, v, {EDGES} {TUMBLE}",
    "rows with windows": f"SELECT k, v, {EDGES}, window_time {HOP}",
    "about edges": f"SELECT MAX(window_end) AS e, COUNT(*) AS n {TUMBLE} GROUP BY k, {EDGES}",
    "grouping sets": f"SELECT k, w, SUM(v) AS s, GROUPING(k, w) AS g {TUMBLE} "
    f"GROUP BY {EDGES}, GROUPING SETS ((k, w), (k), ())",
    "keys that are expressions": f"SELECT v % 2 AS odd, COUNT(*) AS n {TUMBLE} GROUP BY v % 2, {EDGES} "
    "HAVING COUNT(*) > 1",
    "unnest": "SELECT k, i, n FROM t CROSS JOIN UNNEST(items) WITH ORDINALITY AS x (i, n)",
    "windows of unnested": f"""SELECT i, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE (
        SELECT i, ts FROM t LEFT JOIN UNNEST(items) AS x (i) ON TRUE), DESCRIPTOR(ts), INTERVAL '0.02' SECOND))
        GROUP BY i, {EDGES}""",
    "watermark": "SELECT k, v, CURRENT_WATERMARK(ts) AS w FROM t WHERE ts > CURRENT_WATERMARK(ts)",
    "windows of watermarks": f"""SELECT k, MAX(at) AS m, COUNT(at) AS c FROM TABLE(TUMBLE(TABLE (
        SELECT *, CURRENT_WATERMARK(ts) AS at FROM t), DESCRIPTOR(ts), INTERVAL '0.02' SECOND)) GROUP BY k, {EDGES}""",
    "pattern over watermarks": f"""SELECT * FROM (SELECT *, CURRENT_WATERMARK(ts) AS at FROM t)
        {MATCH.replace('A.v AS a', 'A.at AS a').partition(' ')[2]}""",
    "union": "SELECT k, v FROM t WHERE v > 2 UNION ALL SELECT k, w FROM t WHERE w > 1",
    "union of windows": f"SELECT k, s FROM ({GROUPS}) UNION ALL SELECT 'all', SUM(v) {HOP} GROUP BY {EDGES}",
    "OVER a union": f"SELECT k, SUM(v) {OVER.format(RANGE)} AS s FROM "
    "(SELECT k, v, ts FROM t UNION ALL SELECT 'x', w, ts FROM t WHERE w > 2)",
    "OVER windows": f"SELECT k, s, SUM(s) OVER (PARTITION BY k ORDER BY window_time) AS r FROM ({GROUPS})",
    "pattern": f"SELECT * FROM {MATCH}",
    "pattern over a filter": f"SELECT * FROM {MATCH.replace('t MATCH', '(SELECT * FROM t WHERE w > 0) MATCH', 1)}",
    "pattern over windows": f"""SELECT * FROM ({GROUPS}) MATCH_RECOGNIZE (PARTITION BY k ORDER BY window_time
        MEASURES A.s AS a, B.s AS b PATTERN (A B) DEFINE B AS B.s > A.s)""",
    "pattern over OVER": f"""SELECT * FROM ({over('LAG(v)')}) MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts
        MEASURES A.r AS a, B.v AS b PATTERN (A B) DEFINE B AS B.v > A.v)""",
    "pattern over patterns": f"""SELECT * FROM (SELECT * FROM {MATCH}) MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts
        MEASURES A.b AS a, B.b AS b PATTERN (A B) DEFINE B AS B.b > A.a)""",
    "pattern over unnested": """SELECT * FROM (SELECT k, i, ts FROM t CROSS JOIN UNNEST(items) AS x (i))
        MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.i AS a, B.i AS b PATTERN (A B) DEFINE B AS B.i > A.i)""",
    "pattern over a union": f"""SELECT * FROM (SELECT k, v, ts FROM t UNION ALL SELECT k, w, ts FROM t WHERE w > 1)
        {MATCH.partition(' ')[2]}""",
    "windows over a pattern": f"""SELECT k, COUNT(*) AS n, MAX(b) AS b FROM TABLE(TUMBLE(TABLE (SELECT * FROM {MATCH}),
        DESCRIPTOR(ts), INTERVAL '0.06' SECOND)) GROUP BY k, {EDGES}""",
    "first match": ranked(f"FROM (SELECT * FROM {MATCH})", "k", "ts", "= 1", "k, a, b"),
    "detector": f"SELECT r.seen, v FROM ({detector('v', 't')})",
    "detector over windows": f"SELECT r.seen, v FROM ({detector('s', f'({GROUPS})', time='window_time')})",
    "detector over a pattern": f"SELECT r.seen, v FROM ({detector('b', MATCH)})",
    "detector over OVER": f"SELECT r.seen, v FROM ({detector('r', '(' + over('LAG(v)') + ')')})",
    "windows over a detector": f"""SELECT SUM(r.seen) AS s FROM TABLE(TUMBLE(TABLE ({detector('v', 't')}),
        DESCRIPTOR(ts), INTERVAL '0.02' SECOND)) GROUP BY {EDGES}""",
    "pattern and windows": f"SELECT k, a FROM {MATCH} UNION ALL SELECT k, s FROM ({GROUPS})",
    "sorted matches": f"SELECT * FROM (SELECT ts, a, b FROM {MATCH}) ORDER BY ts, b DESC",
}  # fmt: skip

NEAR = """t a {} JOIN t b ON a.k = b.k AND a.w <> b.w
    AND b.ts BETWEEN a.ts - INTERVAL '0.02' SECOND AND a.ts + INTERVAL '0.01' SECOND"""
VERSIONS = (
    "(SELECT k, v, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS n FROM t) WHERE n = 1)"
)
AS_OF = f"WITH last AS {VERSIONS} SELECT a.k, a.v, b.v AS w, a.ts FROM t a {{}} JOIN last FOR SYSTEM_TIME AS OF a.ts " \
        "AS b ON a.k = b.k AND a.w > 0"  # fmt: skip
QUERIES |= {
    "interval join": f"SELECT a.k, a.v, b.v AS w FROM {NEAR.format('')}",
    "left interval join": f"SELECT a.k, a.v, b.v AS w FROM {NEAR.format('LEFT')}",
    "full interval join": f"SELECT a.k, a.v, b.k, b.v AS w FROM {NEAR.format('FULL')}",
    "interval join that is over when it begins": "SELECT a.v, b.v AS w FROM t a RIGHT JOIN t b ON a.k = b.k AND a.ts "
    "BETWEEN b.ts - INTERVAL '0.03' SECOND AND b.ts - INTERVAL '0.02' SECOND",
    "pattern over an interval join": f"""SELECT * FROM (SELECT a.k, a.v, b.v AS w, a.ts FROM {NEAR.format('LEFT')})
        MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.v AS a, B.w AS b PATTERN (A B) DEFINE B AS B.w > A.v)""",
    "windows of an interval join": f"""SELECT k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE (SELECT a.k, b.ts FROM
        {NEAR.format('')}), DESCRIPTOR(ts), INTERVAL '0.02' SECOND)) GROUP BY k, {EDGES}""",
    "interval join of windows": f"""SELECT a.k, a.s, b.v FROM ({GROUPS}) a LEFT JOIN t b ON a.k = b.k
        AND b.ts BETWEEN a.window_time - INTERVAL '0.02' SECOND AND a.window_time""",
    "temporal join": AS_OF.format(""),
    "left temporal join": AS_OF.format("LEFT"),
    "pattern over a temporal join": f"""SELECT * FROM ({AS_OF.format('')}) MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts
        MEASURES A.v AS a, B.w AS b PATTERN (A B) DEFINE B AS B.w > A.v)""",
}  # fmt: skip

MIXED = "SELECT k, v FROM t WHERE v > 2 UNION ALL SELECT k, s FROM ({})"
QUERIES["rows and windows"] = MIXED.format(GROUPS)
UNORDERED = {
    "rows and windows", "left interval join", "full interval join", "interval join that is over when it begins",
    "interval join of windows",
}  # fmt: skip
"""Some rows come at once, others when the watermark passes: batches decide which are first."""


@pytest.fixture(autouse=True)
def sample_functions(monkeypatch):
    use_sample_functions(monkeypatch)


def rows_of(seed: int, *, late: bool, count: int = 40) -> list[tuple]:
    """Rows in order of position; with ``late`` not in order of time, and some of them too late."""
    draw, time, rows = random.Random(seed), 1_000, []
    for position in range(count):
        time += draw.choice((0, 0, 1, 3, 10, 25))
        own = time - (draw.choice((0, 0, 5, 15, 40, 70)) if late else 0)
        items = draw.choice((None, [], [1], [3, 2], [2, 2, 5]))
        value = draw.choice((None, 0, 1, 2, 3, 4))
        rows.append((own, position, draw.choice("xyz"), value, draw.randrange(4), items, own))
    return rows


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", QUERIES)
def test_graphs_keep_the_contract(name: str, seed: int) -> None:
    factory = bind_text(QUERIES[name], {"t": SCHEMA}).factory

    def create():
        return factory.create(Layout(COLUMNS))

    if factory.needs_order:
        check_contract(create, rows_of(seed, late=False), seed=seed, per_row=60)
        return
    check_arrivals(create, rows_of(seed, late=True), delay_ms=20, seed=seed, per_row=60, ordered=name not in UNORDERED)


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - UNORDERED))
def test_columns_that_nobody_reads_change_nothing(name: str) -> None:
    """Other queries of the same table may bring further columns."""
    bound = bind_text(QUERIES[name], {"t": SCHEMA})
    few = Layout(tuple(column for column in COLUMNS if column.name in bound.factory.reads))
    places = [0, 1, *(Layout(COLUMNS).index(column.name) for column in few.columns)]
    rows = sorted(rows_of(7, late=False), key=lambda row: row[0])
    results = []
    for layout, given in ((Layout(COLUMNS), rows), (few, [tuple(row[place] for place in places) for row in rows])):
        operator = bound.factory.create(layout)
        found = operator.process(given, 2_000) + operator.advance(2**63 - 1)
        results.append([(one.time, one.values, one.last[:2], one.number) for one in found])
    assert results[0] == results[1]
