"""Change events of Debezium: what they give, and what is wrong with those that give nothing.

The lines and what becomes of them are those of Flink 2.3's own decoder, which was asked for each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from anomaly_app.changes import Change
from anomaly_app.errors import DecodeError, IgnoredError
from anomaly_app.formats.debezium import METADATA, DebeziumDecoder, DebeziumEncoder
from anomaly_app.formats.options import DebeziumOptions, JsonOptions
from anomaly_app.schema import INT, STRING, Column, Origin

COLUMNS = [Column("k", INT), Column("v", STRING)]
IGNORE = JsonOptions(ignore_parse_errors=True)
ALL = [Column(f"m{n}", type_, Origin.METADATA, key) for n, (key, type_) in enumerate(METADATA.items())]


def decoder(*, wrapped: bool = False, ignore: bool = False, metadata: Sequence[Column] = ()) -> DebeziumDecoder:
    options = DebeziumOptions(IGNORE if ignore else JsonOptions(), wrapped)
    return DebeziumDecoder(COLUMNS, metadata, options)


def event(op: str, before: Any = None, after: Any = None, **more: Any) -> bytes:
    return json.dumps({"before": before, "after": after, "op": op, **more}).encode()


A, B = {"k": 1, "v": "a"}, {"k": 1, "v": "b"}


@pytest.mark.parametrize(
    ("payload", "rows"),
    [
        (event("c", None, A), [(1, "a", Change.INSERT)]),
        (event("r", None, A), [(1, "a", Change.INSERT)]),
        (b'{"after": {"k": 1, "v": "a"}, "op": "r", "ts_ms": 3, "more": [{}]}', [(1, "a", Change.INSERT)]),
        (event("u", A, B), [(1, "a", Change.BEFORE), (1, "b", Change.AFTER)]),
        (event("d", B, None), [(1, "b", Change.DELETE)]),
        (event("c", None, {"k": "7", "v": 8}), [(7, "8", Change.INSERT)]),
        (event("c", None, {}), [(None, None, Change.INSERT)]),
        (None, []),
        (b"", []),
    ],
)
def test_an_event_gives_the_rows_that_go_and_come(payload: bytes | None, rows: list[tuple[Any, ...]]) -> None:
    assert decoder().decode_one(payload) == rows
    wrapped = payload and b'{"schema": {"type": "struct"}, "payload": ' + payload + b"}"
    assert decoder(wrapped=True).decode_one(wrapped) == rows


def test_a_batch_tells_of_which_record_each_row_is() -> None:
    given = [event("r", None, A), None, event("u", A, B), b"", event("d", B)]
    numbers, rows = decoder().decode_all(given)
    assert numbers == [0, 2, 2, 4]
    assert [row[-1] for row in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (
            event("u", None, B),
            "'before' of an update (op u) is null (for Postgres, its table needs REPLICA IDENTITY FULL)",
        ),
        (event("d", None, None), "'before' of a deletion (op d) is null (for Postgres"),
        (event("c", None, None), "'after' of an insertion (op c) is null"),
        (event("u", A, None), "'after' of an update (op u) is null"),
        (event("t", None, A), "unknown 'op' 't': it must be c, r, u or d"),
        (event("C", None, A), "unknown 'op' 'C'"),
        (b'{"after": {"k": 1}, "op": 1}', "unknown 'op' 1"),
        (b'{"after": {"k": 1}}', "there is no 'op'"),
        (
            b'{"schema": {}, "payload": {"op": "c", "after": {}}}',
            "with a schema it is 'debezium-json.schema-include' = 'true'",
        ),
        (b"{}", "there is no 'op'"),
        (b"null", "a JSON object was expected, not 'null'"),
        (b"[]", "a JSON object was expected, not '[]'"),
        (b"nonsense", "not JSON"),
        (b'{"after": [1], "op": "c"}', "'after' is no JSON object"),
        (event("c", None, {"k": "x"}), "'after': field 'k': \"x\" (string) is not an INT"),
        (event("u", {"k": "x"}, A), "'before': field 'k': \"x\" (string) is not an INT"),
    ],
)
def test_what_is_no_event_says_why_or_is_let_go(payload: bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder().decode_one(payload)
    assert problem in str(caught.value) and not isinstance(caught.value, IgnoredError)
    with pytest.raises(Exception):  # noqa: B017 (whatever it is, the batch is then read one by one)
        decoder().decode_all([payload])
    fields = [b'"k"', b'"x"']
    if not all(field in payload for field in fields):
        with pytest.raises(IgnoredError):
            decoder(ignore=True).decode_one(payload)


def test_a_field_that_is_wrong_is_null_if_errors_are_ignored() -> None:
    lenient = decoder(ignore=True)
    assert lenient.decode_one(event("c", None, {"k": "x", "v": "a"})) == [(None, "a", 0)]
    assert lenient.decode_one(event("u", {"k": "x"}, A)) == [(None, None, 1), (1, "a", 2)]


def test_an_event_without_the_schema_that_is_expected() -> None:
    with pytest.raises(
        DecodeError, match=r"no 'payload': without schema it is 'debezium-json.schema-include' = 'false'"
    ):
        decoder(wrapped=True).decode_one(event("c", None, A))


@pytest.mark.parametrize("quick", [True, False])
def test_what_stands_around_the_rows(quick: bool) -> None:
    source = {"ts_ms": 123, "db": "inv", "schema": "pub", "table": "p", "version": 1.5, "x": None, "ok": True}
    row = {"k": 1 if quick else "1"}
    payload = event("c", None, row, ts_ms=1_589_362_330_904, source=source)
    properties = {
        "ts_ms": "123", "db": "inv", "schema": "pub", "table": "p", "version": "1.5", "x": None, "ok": "true"
    }  # fmt: skip
    around = (1_589_362_330_904, 123, "inv", "pub", "p", properties)
    assert decoder(metadata=ALL).decode_one(payload) == [(1, None, None, *around, 0)]
    wrapped = b'{"schema": {"a":[1]}, "payload": ' + payload + b"}"
    assert decoder(wrapped=True, metadata=ALL).decode_one(wrapped) == [(1, None, '{"a":[1]}', *around, 0)]


def test_what_does_not_stand_around_the_rows_is_null() -> None:
    nothing = (None,) * len(ALL)
    assert decoder(metadata=ALL).decode_one(event("u", A, B)) == [(1, "a", *nothing, 1), (1, "b", *nothing, 2)]


def test_a_time_that_is_none() -> None:
    times = [column for column in ALL if column.source_name == "value.source.timestamp"]
    with pytest.raises(DecodeError, match=r"source\.ts_ms: 'x' is no time in milliseconds"):
        decoder(metadata=times).decode_one(event("c", None, A, source={"ts_ms": "x"}))


def test_a_column_that_is_not_null_must_be_there_also_in_the_row_that_goes() -> None:
    needed = DebeziumDecoder([Column("v", STRING.with_nullable(False))], [], DebeziumOptions())
    with pytest.raises(DecodeError, match="'before': field 'v' is absent, and its column is NOT NULL"):
        needed.decode_one(event("d", {"k": 1}))


def test_events_are_written_as_flink_writes_them() -> None:
    encoder = DebeziumEncoder(COLUMNS, DebeziumOptions())
    goes, comes = (
        b'{"before":{"k":1,"v":"x"},"after":null,"op":"d"}',
        b'{"before":null,"after":{"k":1,"v":"x"},"op":"c"}',
    )
    assert [encoder.encode((1, "x"), change) for change in Change] == [comes, goes, comes, goes]
    short = DebeziumEncoder(COLUMNS, DebeziumOptions(JsonOptions(ignore_null_fields=True)))
    assert short.encode((1, None), 1) == b'{"before":{"k":1},"op":"d"}'
    assert short.encode((1, None), 2) == b'{"after":{"k":1},"op":"c"}'


def test_what_is_written_is_read() -> None:
    encoder, reader = DebeziumEncoder(COLUMNS, DebeziumOptions()), decoder()
    kinds = [reader.decode_one(encoder.encode((1, "x"), change)) for change in Change]
    assert kinds == [[(1, "x", kind)] for kind in (0, 3, 0, 3)]
