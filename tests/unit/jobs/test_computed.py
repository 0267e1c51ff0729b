"""Computed columns and watermarks of CREATE TABLE: what they may be, and where they are refused."""

from __future__ import annotations

import pytest

from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.tables import bind_schema, bind_sink, bind_source
from anomaly_app.schema import Origin, Schema
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable

WITH = "WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json')"


def create(text: str) -> CreateTable:
    statement = parse_statements(text)[0]
    assert isinstance(statement, CreateTable)
    return statement


def schema(columns: str) -> Schema:
    text = f"CREATE TABLE t ({columns})"
    return bind_schema(create(text), text)


def test_a_column_may_be_any_expression_over_the_others_wherever_they_stand() -> None:
    table = schema(
        "big AS v > 50 COMMENT 'big ones', up AS UPPER(k), f AS r.x[1], k STRING, v INT, r ROW<x ARRAY<INT>>, c AS 'x'"
    )
    assert [(column.name, str(column.type)) for column in table.columns if column.origin is Origin.COMPUTED] == [
        ("big", "BOOLEAN"), ("up", "STRING"), ("f", "INT"), ("c", "CHAR(1) NOT NULL"),
    ]  # fmt: skip
    assert {name: sorted(computed.reads) for name, computed in table.computed.items()} == {
        "big": ["v"], "up": ["k"], "f": ["r"], "c": [],
    }  # fmt: skip
    read = table.sources([column for column in table.columns if column.name in ("up", "f")])
    assert [column.name for column in read] == ["k", "r"]


@pytest.mark.parametrize(
    ("strategy", "delay_ms"),
    [
        ("ts", 0),
        ("ts - INTERVAL '0.001' SECOND", 1),
        ("ts - INTERVAL '1' SECOND * 2", 2_000),
        ("ts - 3 * INTERVAL '1' MINUTE", 180_000),
        ("ts - INTERVAL '1' SECOND - INTERVAL '1' MINUTE", 61_000),
        ("ts - (INTERVAL '10' SECOND - INTERVAL '1' SECOND)", 9_000),
        ("ts + INTERVAL '-5' SECOND", 5_000),
        ("ts - INTERVAL '1 01:00:00' DAY TO SECOND", 90_000_000),
    ],
)
@pytest.mark.parametrize("time", ["ts TIMESTAMP(3)", "ts TIMESTAMP_LTZ(3)", "ts AS TO_TIMESTAMP_LTZ(ms, 3)"])
def test_a_watermark_trails_its_column_by_a_constant(strategy: str, delay_ms: int, time: str) -> None:
    table = schema(f"ms BIGINT, {time}, WATERMARK FOR ts AS {strategy}")
    assert (table.rowtime, table.watermark_delay_ms) == ("ts", delay_ms)


@pytest.mark.parametrize(
    ("columns", "problem", "place"),
    [
        ("id INT, d AS idd * 2", "unknown column 'idd'; did you mean id?", "idd"),
        ("a INT, b AS a + 1, c AS b * 2", "cannot read 'b', which is computed too: write a + 1 in its place", "b *"),
        ("a INT, b AS c, c AS b", "computed too", "c, c"),
        ("a INT, p AS PROCTIME(), c AS p", "unknown column 'p'", "p)"),
        ("a INT, b AS SUM(a)", "about many rows", "SUM(a)"),
        ("a INT, b AS SUM(a) OVER (ORDER BY a)", "SELECT list only", "SUM(a)"),
        ("a INT, b AS LAST(a)", "MATCH_RECOGNIZE only", "LAST(a)"),
        ("a INT, b AS NOW()", "reads the clock", "NOW()"),
        ("a INT, b AS NULL", "has no type", "NULL"),
        ("a INT, b AS a || 'x'", "CAST it to STRING", "a ||"),
        ("r ROW<x INT>, b AS r.y", "no field 'y'", "r.y"),
        ("a INT, b AS CURRENT_WATERMARK(a)", "not the event time of a table", "a))"),
        ("a INT, a AS 1", "there twice", "a AS 1"),
        ("a AS 1, a INT", "there twice", "a INT"),
        ("a INT, b AS a, PRIMARY KEY (b) NOT ENFORCED", "must be a plain column", "CREATE"),
        ("ms BIGINT, WATERMARK FOR ms AS ms - 5", "event_time AS TO_TIMESTAMP_LTZ(ms, 3)", "WATERMARK"),
        ("at STRING, WATERMARK FOR at AS at", "event_time AS TO_TIMESTAMP(at)", "WATERMARK"),
        ("at TIMESTAMP(6), WATERMARK FOR at AS at", "event_time AS CAST(at AS TIMESTAMP(3))", "WATERMARK"),
        ("r ROW<`at` TIMESTAMP(3)>, WATERMARK FOR r.`at` AS r.`at`", "a field cannot be the event time", "WATERMARK"),
        ("w INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND * w", "less a constant", "ts - "),
        ("ts TIMESTAMP(3), u TIMESTAMP(3), WATERMARK FOR ts AS u", "less a constant", "u)"),
        ("ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' MONTH", "less a constant", "ts - "),
        ("ts TIMESTAMP(3), WATERMARK FOR ts AS tss", "unknown column 'tss'", "tss"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(columns: str, problem: str, place: str) -> None:
    text = f"CREATE TABLE t ({columns})"
    with pytest.raises(SqlValidationError) as caught:
        bind_schema(create(text), text)
    assert problem in str(caught.value)
    assert f"column {text.rindex(place) + 1}:" in str(caught.value)


def test_a_sink_has_no_place_for_a_computed_column() -> None:
    text = f"CREATE TABLE t (a INT, b AS a + 1, m STRING METADATA FROM 'topic' VIRTUAL) {WITH}"
    assert [column.name for column in bind_sink(create(text), text, []).columns] == ["a"]
    source = bind_source(create(text), text, [])
    assert source.value_fields == ("a",) and [column.name for column in source.schema.columns] == ["a", "b", "m"]


def fingerprint(table: str, query: str = "SELECT b, ts FROM t") -> str:
    job = bind_job(f"CREATE TABLE t ({table}) {WITH}; {query};", name="j")
    return job.plans[0].queries[0].fingerprint


def test_state_hangs_on_the_expressions_that_are_read_and_on_those_only() -> None:
    first = "ms BIGINT, a INT, ts AS TO_TIMESTAMP_LTZ(ms, 3), b AS a + 1, c AS a, WATERMARK FOR ts AS ts"
    assert fingerprint(first) == fingerprint(first.replace("c AS a", "c AS a * 7").replace("a + 1", "a  +  1"))
    for changed in (
        first.replace("a + 1", "a + 2"),
        first.replace("(ms, 3)", "(ms, 0)"),
        first.replace("a INT", "a BIGINT"),
    ):
        assert fingerprint(changed) != fingerprint(first)
    unread = fingerprint(first, "SELECT a FROM t")
    assert unread != fingerprint(first.replace("(ms, 3)", "(ms, 0)"), "SELECT a FROM t"), (
        "the event time is always read"
    )
    assert unread == fingerprint(first.replace("a + 1", "a + 2"), "SELECT a FROM t")
