"""Computed columns and metadata of records: in each format, and what a record without a time costs."""

from __future__ import annotations

import asyncio
import dis
import json
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
import pytest

from anomaly_app.formats.records import RecordDecoder
from anomaly_app.jobs.tables import bind_source
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.operators import Layout
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable

START = 1_767_258_000_000
"""2026-01-01 09:00:00 in UTC."""

TABLE = """
    k STRING,
    ms BIGINT,
    ts AS TO_TIMESTAMP_LTZ(ms, 3),
    up AS UPPER(k),
    per AS 100 / ms,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
"""


class Message(NamedTuple):
    value: bytes | None
    offset: int = 0
    key: bytes | None = None
    timestamp: int = 5_000
    topic: str = "t"
    partition: int = 3
    timestamp_type: int | None = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


def source(columns: str, format_: str = "json", more: str = "") -> Source:
    text = f"CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', 'topic' = 't', 'value.format' = '{format_}'{more})"
    statement = parse_statements(text)[0]
    assert isinstance(statement, CreateTable)
    return bind_source(statement, text, [])


def layout(table: Source, *names: str) -> Layout:
    return Layout(table.columns(names))


def decoded(decoder: RecordDecoder, *values: bytes) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]]]:
    result = decoder.decode([Message(value, number) for number, value in enumerate(values)], 0)
    return result.rows, [(record.offset, str(error)) for record, error in result.bad]


AVRO = {
    "type": "record",
    "name": "T",
    "fields": [{"name": "k", "type": ["null", "string"]}, {"name": "ms", "type": ["null", "long"]}],
}


class Registry:
    async def schema(self, id_: int) -> str:
        assert id_ == 1
        return json.dumps(AVRO)


def avro(k: str | None, ms: int | None) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, AVRO, {"k": k, "ms": ms})
    return b"\0" + (1).to_bytes(4, "big") + out.getvalue()


@pytest.mark.parametrize(
    ("format_", "good", "null", "zero"),
    [
        ("json", b'{"k": "a", "ms": %d}' % START, b'{"k": "b"}', b'{"k": "c", "ms": 0}'),
        ("csv", b"a,%d" % START, b"b,", b"c,0"),
        ("avro-confluent", avro("a", START), avro("b", None), avro("c", 0)),
    ],
)
def test_event_time_from_a_number_of_milliseconds(format_: str, good: bytes, null: bytes, zero: bytes) -> None:
    more = ", 'value.csv.null-literal' = ''" if format_ == "csv" else ""
    table = source(TABLE, format_, more)
    decoder = RecordDecoder(table, layout(table, "up", "ts"), Registry())  # type: ignore[arg-type]
    asyncio.run(decoder.prepare([Message(value) for value in (good, null, zero)]))
    assert decoded(decoder, good, null, zero) == (
        [(START, 0, START, "A"), (0, 2, 0, "C")],
        [(1, "the event time ts, TO_TIMESTAMP_LTZ(ms, 3), is NULL")],
    )
    assert decoded(decoder, good)[0] == [(START, 0, START, "A")]
    failing = RecordDecoder(table, layout(table, "per"), Registry())  # type: ignore[arg-type]
    asyncio.run(failing.prepare([Message(good)]))
    assert decoded(failing, good, zero) == ([(START, 0, 0)], [(1, "computed column per: division by zero")])


def test_event_time_that_no_query_reads_is_computed_all_the_same() -> None:
    table = source(TABLE)
    decoder = RecordDecoder(table, layout(table, "k"))
    assert decoded(decoder, b'{"k": "a", "ms": 1000}', b'{"k": "a"}') == (
        [(1_000, 0, "a")],
        [(1, "the event time ts, TO_TIMESTAMP_LTZ(ms, 3), is NULL")],
    )


@pytest.mark.parametrize(
    ("column", "value", "ms"),
    [
        ("x STRING, ts AS TO_TIMESTAMP(x, 'dd.MM.yyyy HH/mm')", '"01.01.2026 09/00"', START),
        ("x STRING, ts AS CAST(x AS TIMESTAMP(3))", '"2026-01-01 09:00:00.25"', START + 250),
        ("x ROW<`at` BIGINT>, ts AS TO_TIMESTAMP_LTZ(x.`at`, 0)", '{"at": 1767258000}', START),
        ("x ROW<`at` TIMESTAMP(3)>, ts AS x.`at`", '{"at": "2026-01-01 09:00:00"}', START),
        ("x ARRAY<BIGINT>, ts AS TO_TIMESTAMP_LTZ(CASE WHEN x[2] > 0 THEN x[2] ELSE x[1] END, 3)", "[7, 0]", 7),
        ("x TIMESTAMP(6), ts AS CAST(x AS TIMESTAMP(3))", '"2026-01-01 09:00:00.250999"', START + 250),
    ],
)
def test_event_time_from_text_fields_and_whatever_else_there_is(column: str, value: str, ms: int) -> None:
    table = source(f"{column}, WATERMARK FOR ts AS ts")
    decoder = RecordDecoder(table, layout(table, "ts"))
    rows, bad = decoded(decoder, f'{{"x": {value}}}'.encode(), b'{"x": null}', b"{}")
    assert rows == [(ms, 0, ms)]
    assert [number for number, problem in bad if problem.endswith("is NULL")] == [1, 2]


def test_a_wrong_unit_or_a_text_that_is_no_time_costs_the_record() -> None:
    micros = source(TABLE)
    assert [n for n, _ in decoded(RecordDecoder(micros, layout(micros)), b'{"ms": 1767258000000000}')[1]] == [0]
    text = source("x STRING, ts AS CAST(x AS TIMESTAMP(3)), WATERMARK FOR ts AS ts")
    ((_, problem),) = decoded(RecordDecoder(text, layout(text)), b'{"x": "yesterday"}')[1]
    assert "computed column ts" in problem and "yesterday" in problem


def test_an_expression_is_evaluated_once_a_row() -> None:
    table = source(TABLE)
    decoder = RecordDecoder(table, layout(table, "ts", "up"))
    code = decoder._rows.__code__
    codes = [code, *(constant for constant in code.co_consts if hasattr(constant, "co_code"))]
    calls = [step for each in codes for step in dis.get_instructions(each) if step.argval == "_timestamp_of_whole"]
    assert len(calls) == 1, "once for the time of the row and for the column"


def test_headers_and_the_kind_of_the_timestamp() -> None:
    table = source(
        "h MAP<STRING, BYTES> METADATA FROM 'headers', kind STRING METADATA FROM 'timestamp-type' VIRTUAL, "
        "p INT METADATA FROM 'partition' VIRTUAL, trace AS CAST(h['trace'] AS STRING)"
    )
    decoder = RecordDecoder(table, layout(table, "h", "kind", "trace"))
    given = (("trace", b"t1"), ("empty", None))
    messages = [
        Message(b"{}", headers=given),
        Message(b"{}", timestamp_type=1),
        Message(b"{}", timestamp_type=None),
    ]
    assert [row[2:] for row in decoder.decode(messages, 0).rows] == [
        ({"trace": b"t1", "empty": None}, "CreateTime", "t1"),
        ({}, "LogAppendTime", None),
        ({}, "NoTimestampType", None),
    ]


def test_an_expression_may_read_the_key_the_value_and_metadata_together() -> None:
    table = source(
        "k_id INT, v INT, o BIGINT METADATA FROM 'offset' VIRTUAL, both AS k_id * 100 + v + o",
        more=", 'key.format' = 'json', 'key.fields' = 'k_id', 'key.fields-prefix' = 'k_', "
        "'value.fields-include' = 'EXCEPT_KEY'",
    )
    decoder = RecordDecoder(table, layout(table, "both"))
    messages = [Message(b'{"v": 4}', 30, b'{"id": 7}'), Message(b'{"v": 4}', 31)]
    result = decoder.decode(messages, 9)
    assert result.rows == [(9, 30, 734)]
    assert [(record.offset, str(error)) for record, error in result.bad] == [
        (31, "null key, and columns are read from it: k_id")
    ]


@pytest.mark.parametrize("value", [b"1767258000000", b'"1767258000000"'])
def test_a_number_where_a_time_is_declared_is_told_how_it_becomes_one(value: bytes) -> None:
    table = source("ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts")
    ((_, problem),) = decoded(RecordDecoder(table, layout(table)), b'{"ts": %s}' % value)[1]
    assert problem.endswith(
        "is not a TIMESTAMP_LTZ(3): read it as BIGINT, and compute the time, as in ts AS TO_TIMESTAMP_LTZ(ms, 3)"
    )
