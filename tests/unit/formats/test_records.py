"""Records to rows: times, keys, metadata, and everything that makes a record bad."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from anomaly_app.changes import CHANGE_COLUMN, Change
from anomaly_app.errors import RegistryError
from anomaly_app.formats.records import RecordDecoder, RecordEncoder
from anomaly_app.formats.topics import avro_options
from anomaly_app.jobs.topic_tables import Format, Sink, Source
from anomaly_app.operators import Layout
from anomaly_app.schema import BIGINT, INT, STRING, TIMESTAMP_3, Changelog, Column, DataType, Kind, Origin, Schema


class Message(NamedTuple):
    value: bytes | None
    key: bytes | None = None
    offset: int = 0
    timestamp: int = 5_000
    topic: str = "sales"
    partition: int = 3


USER, QTY = Column("user", STRING), Column("qty", INT)
TS = Column("ts", TIMESTAMP_3)
STAMP = Column("at", TIMESTAMP_3, Origin.METADATA, "timestamp")
JSON = Format("json")


def source(
    *columns: Column,
    rowtime: str | None = None,
    proctime: str | None = None,
    changelog: Changelog = Changelog.APPEND,
    **more: object,
) -> Source:
    values = tuple(column.name for column in columns if column.origin is Origin.VALUE)
    given = {"value_format": JSON, "value_fields": values, **more}
    schema = Schema(columns, rowtime, 0, proctime, changelog=changelog)
    return Source("t", schema, "sales", **given)  # type: ignore[arg-type]


def problems(decoder: RecordDecoder, *messages: Message) -> list[tuple[int, str]]:
    decoded = decoder.decode(messages, 0)
    assert len(decoded.rows) + len(decoded.bad) == len(messages)
    return [(record.offset, str(error)) for record, error in decoded.bad]


def test_rows_have_event_time_offset_and_the_columns_of_the_layout() -> None:
    decoder = RecordDecoder(source(USER, QTY, TS, rowtime="ts"), Layout((TS, USER)))
    messages = [
        Message(b'{"user": "ann", "qty": 1, "ts": "1970-01-01 00:00:01"}', offset=7),
        Message(b'{"ts": "1970-01-01 00:00:02.5", "qty": 2}', offset=9),
    ]
    assert decoder.decode(messages, 0) == ([(1000, 7, 1000, "ann"), (2500, 9, 2500, None)], [], 0, 0)


def test_event_time_is_read_even_if_no_query_asks_for_it() -> None:
    decoder = RecordDecoder(source(USER, TS, rowtime="ts"), Layout((USER,)))
    assert decoder.decode([Message(b'{"user": "a", "ts": "1970-01-01 00:00:01"}')], 0).rows == [(1000, 0, "a")]


def test_metadata() -> None:
    columns = (
        STAMP,
        Column("p", INT, Origin.METADATA, "partition"),
        Column("o", BIGINT, Origin.METADATA, "offset"),
        Column("t", STRING, Origin.METADATA, "topic"),
        Column("us", DataType(Kind.TIMESTAMP_LTZ, 6), Origin.METADATA, "timestamp"),
    )
    decoder = RecordDecoder(source(USER, *columns, rowtime="at"), Layout(columns))
    assert decoder.decode([Message(b"{}", offset=4)], 0).rows == [(5000, 4, 5000, 3, 4, "sales", 5_000_000)]


def test_microseconds_of_event_time_are_milliseconds_in_a_row() -> None:
    micros = Column("ts", DataType(Kind.TIMESTAMP, 6))
    decoder = RecordDecoder(source(micros, rowtime="ts"), Layout((micros,)))
    row = decoder.decode([Message(b'{"ts": "1970-01-01 00:00:01.000999"}')], 0).rows[0]
    assert row == (1000, 0, 1_000_999)


def test_without_event_time_rows_have_the_time_of_arrival() -> None:
    proctime = Column("p", DataType(Kind.TIMESTAMP_LTZ, 3, nullable=False), Origin.PROCTIME)
    decoder = RecordDecoder(source(USER, proctime, proctime="p"), Layout((USER, proctime)))
    assert decoder.decode([Message(b'{"user": "a"}')], 77).rows == [(77, 0, "a", 77)]
    assert RecordDecoder(source(USER), Layout((USER,))).decode([Message(b"{}")], 77).rows == [(77, 0, None)]


def test_columns_of_the_key() -> None:
    key = Column("k_user", STRING, Origin.KEY, "user")
    decoder = RecordDecoder(source(key, QTY, key_format=JSON, key_fields=("k_user",)), Layout((QTY, key)))
    good = Message(b'{"qty": 1, "user": "no"}', b'{"user": "ann"}')
    assert decoder.decode([good, good], 1).rows == [(1, 0, 1, "ann")] * 2
    assert problems(decoder, good, Message(b"{}", None, 1), Message(b"{}", b"x", 2)) == [
        (1, "null key, and columns are read from it: k_user"),
        (2, "key: not JSON: JSON is malformed: invalid character (byte 0)"),
    ]


def test_a_key_that_no_query_reads_is_left_alone() -> None:
    key = Column("k", INT, Origin.KEY)
    decoder = RecordDecoder(source(key, QTY, key_format=Format("csv"), key_fields=("k",)), Layout((QTY,)))
    assert decoder.decode([Message(b'{"qty": 1}', b"no number")], 1).rows == [(1, 0, 1)]


def test_bad_records_are_told_apart_and_the_others_stay() -> None:
    needed = Column("need", INT.with_nullable(False))
    decoder = RecordDecoder(source(USER, needed, TS, rowtime="ts"), Layout((USER, needed)))
    good = b'{"user": "a", "need": 1, "ts": "9999-12-31 23:59:59.999"}'
    bad = [
        b"\xff\xfe",
        b'{"need": 1}',
        b'{"ts": "1970-01-01 00:00:01"}',
        b'{"need": 1, "ts": "1969-12-31 23:59:59"}',
        b'{"need": 1, "ts": "soon"}',
    ]
    messages = [Message(value, offset=number) for number, value in enumerate([good, *bad, good])]
    decoded = decoder.decode([*messages, Message(None, offset=7)], 0)
    assert [row[1] for row in decoded.rows] == [0, 6]
    assert decoded.rows[0][0] == 253_402_300_799_999
    assert decoded.tombstones == 1
    assert [(record.offset, str(error)) for record, error in decoded.bad] == [
        (1, "not JSON: JSON is malformed: invalid character (byte 0)"),
        (2, "the event time ts is NULL"),
        (3, "field 'need' is absent, and its column is NOT NULL"),
        (4, "the event time ts is negative: -1000 ms since 1970"),
        (5, "field 'ts': \"soon\" (string) is not a TIMESTAMP(3)"),
        (7, "null value (a tombstone): the table is append-only, and 'value.null' = 'skip' would let it go"),
    ]


def test_a_record_without_timestamp_has_no_event_time() -> None:
    decoder = RecordDecoder(source(USER, STAMP, rowtime="at"), Layout((USER,)))
    assert problems(decoder, Message(b"{}", timestamp=-1)) == [(0, "the event time at is negative: -1 ms since 1970")]


def test_records_that_only_together_are_json_stay_apart() -> None:
    decoder = RecordDecoder(source(USER), Layout((USER,)))
    messages = [Message(b'{"x": [{}'), Message(b"{}]}", offset=1), Message(b"{}, {}", offset=2)]
    assert [offset for offset, _ in problems(decoder, *messages)] == [0, 1, 2]


def test_comments_in_csv_are_neither_rows_nor_bad() -> None:
    csv = Format("csv", {"allow-comments": "true"})
    decoder = RecordDecoder(source(USER, value_format=csv), Layout((USER,)))
    assert decoder.decode([Message(b"# head"), Message(b"ann", offset=1)], 1) == ([(1, 1, "ann")], [], 0, 0)


def test_raw_values() -> None:
    decoder = RecordDecoder(source(USER, value_format=Format("raw")), Layout((USER,)))
    assert decoder.decode([Message("ä".encode())], 1).rows == [(1, 0, "ä")]
    assert problems(decoder, Message(b"\xff")) == [
        (0, "not a raw STRING: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte")
    ]
    number = RecordDecoder(source(QTY, value_format=Format("raw", {"endianness": "little-endian"})), Layout((QTY,)))
    assert number.decode([Message(b"\1\0\0\0")], 1).rows == [(1, 0, 1)]
    assert problems(number, Message(b"\1"))[0][1].startswith("not a raw INT")


def test_an_empty_batch() -> None:
    assert RecordDecoder(source(USER), Layout((USER,))).decode([], 1) == ([], [], 0, 0)


def test_a_layout_without_columns_of_the_value_still_reads_it() -> None:
    decoder = RecordDecoder(source(USER, STAMP, rowtime="at"), Layout((STAMP,)))
    assert decoder.decode([Message(b'{"user": "a"}')], 1).rows == [(5000, 0, 5000)]
    assert len(problems(decoder, Message(b"poison"))) == 1


def test_encoding_an_upsert_row_as_the_tutorial_has_it() -> None:
    sink = Sink(
        "s", (USER, QTY, TS), "out", Format("csv"), Format("csv"), ("user",), ("user", "qty", "ts"), "upsert-kafka"
    )
    assert RecordEncoder(sink).encode(("user-67", 30, 1752156422697)) == (
        b"user-67",
        b'user-67,30,"2025-07-10 14:07:02.697"',
    )


async def test_encoding_without_key_or_with_the_key_left_out() -> None:
    plain = RecordEncoder(Sink("s", (USER, QTY), "out", JSON, value_fields=("user", "qty")))
    await plain.prepare()
    assert plain.encode(("ann", 3)) == (None, b'{"user":"ann","qty":3}')
    keyed = RecordEncoder(Sink("s", (QTY, USER), "out", JSON, Format("raw"), ("user",), ("qty",)))
    assert keyed.encode((3, "ann")) == (b"ann", b'{"qty":3}')
    assert keyed.encode((3, None)) == (None, b'{"qty":3}')


def test_avro_needs_a_registry() -> None:
    avro = Format("avro-confluent", {"url": "http://r/apis/ccompat/v6", "basic-auth.user-info": "ann:pw"})
    with pytest.raises(RegistryError, match=r"registry\.url"):
        RecordDecoder(source(USER, value_format=avro), Layout((USER,)))
    options = avro_options(source(USER, value_format=avro))
    assert options is not None
    assert (options.url, options.user_info) == ("http://r/apis/ccompat/v6", "ann:pw")
    assert "pw" not in repr(options)
    assert avro_options(source(USER)) is None


def test_types_that_a_format_cannot_hold_are_refused_at_once() -> None:
    strange = Column("m", DataType(Kind.MAP, key=INT, element=INT))
    for format_ in ("csv", "json", "raw"):
        with pytest.raises(TypeError):
            RecordDecoder(source(strange, value_format=Format(format_)), Layout((strange,)))


# --- tables that change -----------------------------------------------------------------------------

ID = Column("k_id", INT.with_nullable(False), Origin.KEY, "id")
UPSERTS = {"changelog": Changelog.UPSERT, "key_format": JSON, "key_fields": ("k_id",)}
OF_TABLE = Column("table", STRING, Origin.METADATA, "value.source.table")
DEBEZIUM = {"changelog": Changelog.ALL, "value_format": Format("debezium-json")}


def test_a_record_of_an_upsert_table_is_an_upsert_and_one_without_value_a_deletion_by_the_key() -> None:
    decoder = RecordDecoder(source(ID, QTY, STAMP, rowtime="at", **UPSERTS), Layout((ID, QTY, STAMP, CHANGE_COLUMN)))
    messages = [
        Message(b'{"qty": 1}', b'{"id": 7}', 0),
        Message(None, b'{"id": 7}', 1, 6_000),
        Message(b'{"qty": 2}', b'{"id": 8}', 2),
    ]
    expected = [(5000, 0, 7, 1, 5000, 2), (6000, 1, 7, None, 6000, 3), (5000, 2, 8, 2, 5000, 2)]
    assert decoder.decode(messages, 0) == (expected, [], 0, 0)
    bad = [Message(None, None, 3), Message(None, b'{"id": "x"}', 4), Message(b'{"qty": "x"}', b'{"id": 9}', 5)]
    decoded = decoder.decode([*messages, *bad], 0)
    assert decoded.rows == expected
    assert [(record.offset, str(error)) for record, error in decoded.bad] == [
        (3, "null key, and columns are read from it: k_id"),
        (4, "key: field 'id': \"x\" (string) is not an INT"),
        (5, "field 'qty': \"x\" (string) is not an INT"),
    ]


@pytest.mark.parametrize("bad", [False, True])
def test_a_deletion_has_no_time_if_that_stands_in_the_value_and_a_row_must_have_one(bad: bool) -> None:
    decoder = RecordDecoder(source(ID, TS, rowtime="ts", **UPSERTS), Layout((ID, CHANGE_COLUMN)))
    messages = [Message(b'{"ts": "1970-01-01 00:00:01"}', b'{"id": 7}', 0), Message(None, b'{"id": 7}', 1)]
    if bad:
        messages.append(Message(b"{}", b'{"id": 7}', 2))
    decoded = decoder.decode(messages, 0)
    assert decoded.rows == [(1000, 0, 7, 2), (None, 1, 7, 3)]
    assert [str(error) for _, error in decoded.bad] == ["the event time ts is NULL"] * bad


def test_a_deletion_of_a_table_with_microseconds() -> None:
    micros = Column("ts", DataType(Kind.TIMESTAMP, 6))
    decoder = RecordDecoder(source(ID, micros, rowtime="ts", **UPSERTS), Layout((ID, CHANGE_COLUMN)))
    messages = [Message(b'{"ts": "1970-01-01 00:00:01.5"}', b'{"id": 7}', 0), Message(None, b'{"id": 7}', 1)]
    assert decoder.decode(messages, 0).rows == [(1500, 0, 7, 2), (None, 1, 7, 3)]


def test_events_give_rows_that_go_and_come_all_at_the_place_of_their_record() -> None:
    decoder = RecordDecoder(source(USER, QTY, OF_TABLE, **DEBEZIUM), Layout((QTY, OF_TABLE, CHANGE_COLUMN)))
    messages = [
        Message(b'{"op": "r", "after": {"user": "a", "qty": 1}, "source": {"table": "t1"}}', offset=3),
        Message(b'{"op": "u", "before": {"qty": 1}, "after": {"qty": 2}}', offset=4),
        Message(None, offset=5),
        Message(b'{"op": "d", "before": {"qty": 2}}', offset=6),
    ]
    rows = [(9, 3, 1, "t1", 0), (9, 4, 1, None, 1), (9, 4, 2, None, 2), (9, 6, 2, None, 3)]
    assert decoder.decode(messages, 9) == (rows, [], 1, 0)


def test_an_update_of_which_one_row_cannot_be_read_gives_none() -> None:
    decoder = RecordDecoder(source(TS, rowtime="ts", **DEBEZIUM), Layout((TS, CHANGE_COLUMN)))
    good = Message(b'{"op": "c", "after": {"ts": "1970-01-01 00:00:01"}}', offset=1)
    half = Message(b'{"op": "u", "before": {"ts": "1970-01-01 00:00:01"}, "after": {"ts": null}}', offset=2)
    decoded = decoder.decode([good, half, good], 0)
    assert decoded.rows == [(1000, 1, 1000, 0)] * 2
    assert [(record.offset, str(error)) for record, error in decoded.bad] == [(2, "the event time ts is NULL")]


def test_the_key_of_an_event_is_that_of_both_its_rows() -> None:
    given = {**DEBEZIUM, "key_format": JSON, "key_fields": ("k_id",)}
    decoder = RecordDecoder(source(ID, QTY, **given), Layout((ID, QTY, CHANGE_COLUMN)))
    message = Message(b'{"op": "u", "before": {"qty": 1}, "after": {"qty": 2}}', b'{"id": 7}')
    assert decoder.decode([message], 0).rows == [(0, 0, 7, 1, 1), (0, 0, 7, 2, 2)]


def test_records_without_value_are_let_go_if_the_table_says_so_and_empty_texts_are_not() -> None:
    text = Column("text", STRING)
    decoder = RecordDecoder(source(text, value_format=Format("raw"), skips_nulls=True), Layout((text,)))
    assert decoder.decode([Message(b""), Message(None), Message(b"a")], 1) == ([(1, 0, ""), (1, 0, "a")], [], 1, 0)
    assert decoder.decode([Message(None)], 1) == ([], [], 1, 0)


def test_what_goes_from_an_upsert_table_has_no_value_and_what_goes_from_events_has_one() -> None:
    names = ("user", "qty")
    upserts = RecordEncoder(Sink("s", (USER, QTY), "out", JSON, JSON, ("user",), names, "upsert-kafka"))
    row = ("ann", 3)
    whole = b'{"user":"ann","qty":3}'
    assert [upserts.encode(row, change) for change in Change] == [
        (b'{"user":"ann"}', None if change.takes_back else whole) for change in Change
    ]
    events = RecordEncoder(Sink("s", (USER, QTY), "out", Format("debezium-json"), value_fields=names))
    comes, goes = b'{"before":null,"after":' + whole + b',"op":"c"}', b'{"before":' + whole + b',"after":null,"op":"d"}'
    assert [events.encode(row, change)[1] for change in Change] == [comes, goes, comes, goes]
