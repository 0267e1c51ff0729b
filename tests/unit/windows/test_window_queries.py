"""Windowed aggregations in SQL: forms, edges, types, time, and what is said about them."""

from __future__ import annotations

from datetime import datetime

import pytest

from anomaly_app import Rows, SqlError, query
from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.schema import DOUBLE, STRING, Column, Origin, Schema
from anomaly_app.sql import parse_type

COLUMNS = [("userId", "STRING"), ("amount", "DOUBLE"), ("ts", "TIMESTAMP(3)")]
SEED = """
SELECT userId, window_start, window_end, AVG(amount) AS avg_amount, STDDEV_SAMP(amount), MAX(amount), COUNT(*)
FROM TABLE(TUMBLE(TABLE transactions, DESCRIPTOR(ts), INTERVAL '5' MINUTES))
GROUP BY userId, window_start, window_end
HAVING MAX(amount) > AVG(amount) + 2.5 * STDDEV_SAMP(amount) AND COUNT(*) >= 3
"""


def table(*rows: tuple[str, float | None, str], **more) -> dict[str, Rows]:
    """Rows of transactions; times as minutes and seconds behind nine o'clock."""
    stream = [(user, amount, f"2026-01-01 09:{time}") for user, amount, time in rows]
    return {"transactions": Rows(COLUMNS, stream, rowtime="ts", **more)}


def at(minute: int, second: int = 0, hour: int = 9) -> datetime:
    return datetime(2026, 1, 1, hour, minute, second)


USUAL = [("user001", 100.0 + second, f"01:{second:02}") for second in range(9)]


def test_the_query_of_the_tutorial() -> None:
    rows = [*USUAL, ("user001", 5_000.0, "04:59.999"), *(("user002", 100.0, f"02:{s:02}") for s in range(12))]
    rows += [("user001", 7_000.0, "05:00")]
    result = query(SEED, table(*rows, watermark_delay_ms=600_000))
    assert [name for name, _ in result.columns[3:]] == ["avg_amount", "EXPR$4", "EXPR$5", "EXPR$6"]
    (row,) = result.rows
    assert row[:3] == ("user001", at(0), at(5)) and row[5:] == (5_000.0, 10)
    assert row[3] == pytest.approx(593.6) and row[4] == pytest.approx(1548.25, abs=0.01)


@pytest.mark.parametrize(
    "form",
    [
        "TUMBLE(TABLE transactions, DESCRIPTOR(ts), INTERVAL '5' MINUTE)",
        "TABLE(TUMBLE(DATA => TABLE transactions, SIZE => INTERVAL '5' MINUTE, TIMECOL => DESCRIPTOR(ts)))",
        "TABLE(HOP(TABLE transactions, DESCRIPTOR(`ts`), INTERVAL '5' MINUTE, INTERVAL '5' MINUTE)) AS w",
        "TABLE(CUMULATE(TABLE transactions, DESCRIPTOR($rowtime), INTERVAL '5' MINUTE, INTERVAL '5' MINUTE))",
    ],
)
def test_forms_of_the_same_windows(form: str) -> None:
    sql = SEED[: SEED.index("FROM")] + f"FROM {form} " + SEED[SEED.index("GROUP") :]
    rows = [*USUAL, ("user001", 5_000.0, "04:59")]
    assert query(sql, table(*rows)).rows == query(SEED, table(*rows)).rows != []


def test_the_older_form() -> None:
    sql = """SELECT userId, TUMBLE_START(ts, INTERVAL '5' MINUTE) AS s, TUMBLE_END(ts, INTERVAL '5' MINUTE) AS e,
        TUMBLE_ROWTIME(ts, INTERVAL '5' MINUTE) AS r, MAX(amount) FROM transactions
        GROUP BY userId, TUMBLE(ts, INTERVAL '5' MINUTE)"""
    last = at(4, 59).replace(microsecond=999_000)
    assert query(sql, table(("a", 1.0, "00:00"), ("a", 2.0, "01:00"))).rows == [("a", at(0), at(5), last, 2.0)]
    hop = """SELECT HOP_START(ts, INTERVAL '5' MINUTE, INTERVAL '10' MINUTE) AS s, COUNT(*) FROM transactions
        GROUP BY HOP(ts, INTERVAL '5' MINUTE, INTERVAL '10' MINUTE)"""
    assert query(hop, table(("a", 1.0, "07:00"))).rows == [(at(0), 1), (at(5), 1)]
    session = """SELECT userId, SESSION_START(ts, INTERVAL '1' MINUTE), SESSION_END(ts, INTERVAL '1' MINUTE) FROM
        transactions GROUP BY userId, SESSION(ts, INTERVAL '1' MINUTE)"""
    rows = [("a", 1.0, "00:00"), ("b", 1.0, "00:30"), ("a", 1.0, "00:50"), ("a", 1.0, "02:00")]
    assert query(session, table(*rows)).rows == [
        ("b", at(0, 30), at(1, 30)),
        ("a", at(0), at(1, 50)),
        ("a", at(2), at(3)),
    ]


def test_sessions_that_touch_are_one() -> None:
    sql = """SELECT window_start, window_end, COUNT(*) FROM
        SESSION(TABLE transactions PARTITION BY (userId), DESCRIPTOR(ts), INTERVAL '1' MINUTE)
        GROUP BY userId, window_start, window_end"""
    rows = query(sql, table(("a", 1.0, "00:00"), ("a", 1.0, "01:00"), ("a", 1.0, "02:00.001"))).rows
    assert rows == [(at(0), at(2), 2), (at(2).replace(microsecond=1_000), at(3).replace(microsecond=1_000), 1)]


def test_windows_stand_on_the_grid_of_the_epoch_and_of_the_offset() -> None:
    sql = """SELECT window_start, window_end
        FROM TABLE(TUMBLE(TABLE transactions, DESCRIPTOR(ts), INTERVAL '7' MINUTE{}))
        GROUP BY window_start, window_end"""
    (start, end), *_ = query(sql.format(""), table(("a", 1.0, "03:00"))).rows
    assert (start - datetime(1970, 1, 1)).total_seconds() % 420 == 0 and start <= at(3) < end
    (moved, _), *_ = query(sql.format(", INTERVAL '1' MINUTE"), table(("a", 1.0, "03:00"))).rows
    assert (moved - datetime(1970, 1, 1)).total_seconds() % 420 == 60
    (back, _), *_ = query(sql.format(", INTERVAL '-1' MINUTE"), table(("a", 1.0, "03:00"))).rows
    assert (back - datetime(1970, 1, 1)).total_seconds() % 420 == 360


def test_late_rows_are_in_no_window() -> None:
    sql = SEED[: SEED.index("HAVING")]
    result = query(sql, table(("a", 1.0, "00:10"), ("a", 2.0, "05:20"), ("a", 9.0, "00:20"), watermark_delay_ms=10_000))
    assert [row[5:] for row in result.rows] == [(1.0, 1), (2.0, 1)] and len(result.late) == 1


def test_average_of_whole_numbers_is_truncated_as_in_flink() -> None:
    sql = """SELECT AVG(CAST(amount AS INT)) FROM TUMBLE(TABLE transactions, DESCRIPTOR(ts), INTERVAL '5' MINUTE)
        GROUP BY window_start, window_end"""
    rows = table(("a", -1.0, "00:00"), ("a", -2.0, "00:01"))
    assert query(sql, rows).rows == [(-1,)]
    assert query(sql, rows, dialect="standard").rows == [(-1.5,)]


def test_queries_around_the_groups() -> None:
    sql = """SELECT u, m * 2 AS twice FROM (SELECT userId AS u, MAX(amount) AS m FROM
        TUMBLE(TABLE transactions, DESCRIPTOR(ts), INTERVAL '5' MINUTE) WHERE amount < 50
        GROUP BY userId, window_start, window_end) WHERE m > 3"""
    assert query(sql, table(("a", 4.0, "00:00"), ("a", 99.0, "00:01"), ("b", 3.0, "00:02"))).rows == [("a", 8.0)]


def test_a_row_that_fails_is_reported_and_the_others_go_on() -> None:
    sql = """SELECT SUM(CAST(userId AS INT)) FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND)
        GROUP BY window_start, window_end HAVING 10 / SUM(CAST(userId AS INT)) > 0"""
    schema = Schema((Column("userId", STRING), Column("ts", parse_type("TIMESTAMP(3)"))), rowtime="ts")
    bound = bind_text(sql, {"t": schema})
    operator = bound.factory.create(bound.layout)
    rows = [(0, 0, "4", 0), (1, 1, "four", 1), (2, 2, "3", 2), (1_000, 3, "0", 1_000), (2_000, 4, "5", 2_000)]
    found = operator.process(rows, 2_000) + operator.advance(MAX_WATERMARK)
    assert [finding.values for finding in found] == [(7,), (5,)]
    assert [problem.rows for problem in operator.problems] == [[rows[1]], [rows[3]]]


def test_windows_over_processing_time_close_when_time_has_passed_them() -> None:
    schema = Schema(
        (
            Column("k", STRING),
            Column("v", DOUBLE),
            Column("p", parse_type("TIMESTAMP_LTZ(3) NOT NULL"), Origin.PROCTIME),
        ),
        proctime="p",
    )
    sql = """SELECT k, window_start, window_end, window_time, COUNT(*) FROM
        TUMBLE(TABLE t, DESCRIPTOR(p), INTERVAL '1' SECOND) GROUP BY k, window_start, window_end, window_time"""
    bound = bind_text(sql, {"t": schema})
    assert str(bound.factory.output[3].type) == "TIMESTAMP_LTZ(3) NOT NULL"
    operator = bound.factory.create(bound.layout)
    # A second row of the last millisecond may come.
    assert operator.process([(998, 0, "a", 1.0, 998), (999, 1, "a", 1.0, 999)], 999) == []
    assert operator.process([(999, 2, "a", 1.0, 999)], 999) == []
    (finding,) = operator.process([(1_000, 3, "a", 1.0, 1_000)], 1_000)
    assert finding.values == ("a", 0, 1_000, 999, 3) and (finding.time, finding.last[1]) == (999, 2)
    # The clock has been read without rows: a row that was on its way is not lost.
    (finding,) = operator.advance(5_000)
    assert finding.values[1:] == (1_000, 2_000, 1_999, 1)
    operator.process([(4_998, 4, "a", 1.0, 4_998)], 5_000)
    (finding,) = operator.advance(MAX_WATERMARK)
    assert finding.values[-1] == 1


def test_windows_are_over_the_time_attribute_of_the_table() -> None:
    sql = "SELECT COUNT(*) FROM TUMBLE(TABLE t, DESCRIPTOR({}), INTERVAL '1' SECOND) GROUP BY window_start, window_end"
    columns = (Column("ts", parse_type("TIMESTAMP(3)")), Column("p", parse_type("TIMESTAMP_LTZ(3)"), Origin.PROCTIME))
    with pytest.raises(SqlError, match=r"no time attribute.* by WATERMARK FOR a column .* or AS PROCTIME\(\)"):
        bind_text(sql.format("ts"), {"t": Schema(columns)})
    bind_text(sql.format("p"), {"t": Schema(columns, rowtime="ts", proctime="p")})
    with pytest.raises(SqlError, match="unknown column 'tz'; known: ts, p"):
        bind_text(sql.format("tz"), {"t": Schema(columns, rowtime="ts")})


def test_aggregates_of_the_others_stand_in_row_patterns_too() -> None:
    sql = """SELECT * FROM transactions MATCH_RECOGNIZE (PARTITION BY userId ORDER BY ts
        MEASURES B.amount AS amount, MEDIAN(A.amount) AS m, MAD(A.amount) AS d, AVG_WITHOUT_MAX(A.amount) AS o
        AFTER MATCH SKIP PAST LAST ROW PATTERN (A+? B) DEFINE B AS B.amount > 4 * AVG_WITHOUT_MAX(A.amount))"""
    rows = [("a", amount, f"00:0{second}") for second, amount in enumerate([1.0, 5.0, 3.0, 4.0, 99.0])]
    (row,) = query(sql, table(*rows)).rows
    assert row == ("a", 99.0, 3.5, 1.0, pytest.approx(8 / 3))


PROCTIME_JOB = """
CREATE TABLE t (k STRING, p AS PROCTIME()) WITH (
    'connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'b:9092', 'format' = 'json');
SELECT k, COUNT(*) AS c FROM TABLE({}) GROUP BY k, window_start, window_end;
"""


@pytest.mark.parametrize(
    ("windows", "due"),
    [
        ("TUMBLE(TABLE t, DESCRIPTOR(p), INTERVAL '1' SECOND)", 1_000),
        ("SESSION(TABLE t PARTITION BY k, DESCRIPTOR(p), INTERVAL '1' SECOND)", 1_501),
    ],
)
def test_a_task_knows_when_the_clock_ends_a_window(windows: str, due: int) -> None:
    (plan,) = bind_job(PROCTIME_JOB.format(windows), name="j").plans
    task = plan.create_task()
    assert not task.is_due(10**12)
    task.process([(500, 0, "a")], end=1)
    assert not task.is_due(due - 1) and task.is_due(due)
    assert task.take().findings == []
    task.advance(due)
    assert [finding.values for _, finding in task.take().findings] == [("a", 1)]
    assert not task.is_due(10**12)


WINDOW = "SELECT k, COUNT(*) FROM TUMBLE(TABLE t, DESCRIPTOR(ts), {}) GROUP BY k, window_start, window_end"
PATTERN = "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.k AS l PATTERN (A) DEFINE A AS TRUE)"


@pytest.mark.parametrize(
    ("query", "held_up_at"),
    [(WINDOW.format("INTERVAL '1' SECOND"), 1_000), (PATTERN, 500)],
    ids=["a window is open", "a row waits"],
)
def test_a_task_knows_which_event_time_would_end_what_waits(query: str, held_up_at: int) -> None:
    columns = "ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND"
    create = PROCTIME_JOB.partition("SELECT")[0].replace("p AS PROCTIME()", columns)
    (plan,) = bind_job(create + query, name="j").plans
    task = plan.create_task()
    assert not task.is_held_up(10**12)
    task.process([(500, 0, "a")], end=1)
    assert not task.is_held_up(held_up_at - 1) and task.is_held_up(held_up_at)
    assert not task.is_due(10**12)  # that is for processing time
    task.advance(held_up_at)
    assert len(task.take().findings) == 1
    assert not task.is_held_up(10**12)


JOB = """
CREATE TABLE transactions (userId STRING, amount DOUBLE, note STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (
    'connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'b:9092', 'format' = 'json');
"""


def test_a_job_is_routed_by_its_keys_and_reads_what_it_needs() -> None:
    (plan,) = bind_job(JOB + SEED, name="j").plans
    assert plan.partition_by == ("userId",) and plan.routing.value == "repartition"
    assert [column.name for column in plan.layout.columns] == ["userId", "amount"]
    whole = SEED.replace("userId, ", "")
    (plan,) = bind_job(JOB + whole, name="j").plans
    assert plan.partition_by == () and plan.routing.value == "single"


def test_an_alert_names_the_window_and_the_aggregates() -> None:
    job = bind_job(JOB + SEED, name="j")
    (plan,) = job.plans
    task = plan.create_task()
    task.process([(1_000 * n, n, "user001", 5_000.0 if n == 9 else 100.0) for n in range(10)], end=10)
    task.finish()
    ((_, finding),) = task.take().findings
    builder = AlertBuilder(job, plan, plan.queries[0])
    alert = builder.build(finding, partition=0, offset=9, detected_ms=0)
    assert (alert.type, alert.event_time, alert.key) == ("window", "1970-01-01T00:04:59.999Z", {"userId": "user001"})
    head, rule = alert.explanation.split(" Rule: ")
    assert head.startswith(
        "userId user001 in the window up to 1970-01-01 00:05:00.000: avg_amount 590.0, STDDEV_SAMP(amou"
    )
    assert head.endswith(", MAX(amount) 5000.0, COUNT(*) 10.")
    assert rule == (
        "windows of 5 minutes by userId, if MAX(amount) > AVG(amount) + 2.5 * STDDEV_SAMP(amount) AND COUNT(*) >= 3."
    )
