"""Options of formats."""

from __future__ import annotations

import pytest

from anomaly_app.formats import FORMATS, OptionError, format_options, parse_options
from anomaly_app.formats.options import AvroOptions, CsvOptions, DebeziumOptions, JsonOptions, RawOptions


def test_defaults() -> None:
    made = {name: parse_options(name, {}) for name in FORMATS}
    expected = {"json": JsonOptions(), "csv": CsvOptions(), "avro-confluent": AvroOptions(), "raw": RawOptions()}
    assert made == {**expected, "debezium-json": DebeziumOptions()}


def test_values() -> None:
    options = {
        "field-delimiter": "\\t",
        "disable-quote-character": "TRUE",
        "null-literal": "",
        "array-element-delimiter": "|",
    }
    assert parse_options("csv", options) == CsvOptions("\t", None, null_literal="", array_delimiter="|")
    options = {"timestamp-format.standard": "ISO-8601", "map-null-key.mode": "DROP", "ignore-parse-errors": "true"}
    assert parse_options("json", options) == JsonOptions(False, True, True, "DROP")


@pytest.mark.parametrize(
    ("name", "key", "value", "problem"),
    [
        ("json", "ignore-parse-errors", "yes", "'true', 'false'"),
        ("json", "map-null-key.mode", "drop", "'FAIL', 'DROP', 'LITERAL'"),
        ("csv", "quote-character", "", "single character"),
        ("raw", "charset", "utf-99", "not a known character set"),
        ("raw", "endianness", "middle", "'big-endian', 'little-endian'"),
        ("avro-confluent", "url", "localhost:8081", "http://"),
    ],
)
def test_wrong_values(name: str, key: str, value: str, problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_options(name, {key: value})
    assert caught.value.key == key
    assert problem in caught.value.problem


def test_a_wrong_password_is_not_shown() -> None:
    with pytest.raises(OptionError) as caught:
        parse_options("avro-confluent", {"basic-auth.user-info": "hush"})
    assert "hush" not in str(caught.value)


def test_a_quote_character_and_none_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="give only one of them"):
        parse_options("csv", {"disable-quote-character": "true", "quote-character": "'"})


def test_unknown_formats() -> None:
    with pytest.raises(KeyError):
        format_options("xml")
