"""Tables from schema files: what a CSV file can hold, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomaly_app.errors import DataError, SqlError
from anomaly_app.generators.payments import avro_schema
from anomaly_app.jobs.table_files import sink_of


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_schema_of_the_payments_is_a_table_with_its_key_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "t.avsc", json.dumps(avro_schema("transactions")))
    sink = sink_of(path, "transactions", "TransactionID")
    assert (len(sink.columns), len(sink.value_fields), sink.key_fields) == (78, 77, ("TransactionID",))
    types = {column.name: str(column.type) for column in sink.columns}
    assert (
        types["card1"] == "INT"
        and types["ProductCD"] == "STRING NOT NULL"
        and types["Timestamp"] == ("TIMESTAMP(3) NOT NULL")
    )


def test_a_statement_among_others_is_found_by_its_topic(tmp_path: Path) -> None:
    text = "CREATE TABLE a (x INT) WITH ('connector' = 'kafka', 'topic' = 'one', 'format' = 'json');"
    path = write(
        tmp_path / "t.sql", text + text.replace("one", "two").replace("TABLE a", "TABLE b") + "SELECT * FROM a"
    )
    assert sink_of(path, "two").name == "b"
    with pytest.raises(DataError, match="no table of topic three"):
        sink_of(path, "three")
    with pytest.raises(DataError, match="leave --key out"):
        sink_of(path, "two", "x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no Avro schema"),
        ('{"type": "record"}', "is no Avro schema of a record"),
        ('{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "map", "values": "int"}}]}', "'a'"),
    ],
)
def test_a_schema_that_is_none_says_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        sink_of(write(tmp_path / "t.avsc", text), "t")


def test_wrong_sql_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(SqlError, match=r"t\.sql"):
        sink_of(write(tmp_path / "t.sql", "CREATE TABLE a (x INTT) WITH ('connector' = 'kafka')"), "t")
    with pytest.raises(DataError, match="cannot be read"):
        sink_of(tmp_path / "gone.avsc", "t")
