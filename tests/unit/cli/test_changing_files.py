"""Files of tables that change: a column of kinds, and events of Debezium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anomaly_app.cli import main
from anomaly_app.cli.changes import read_changes
from anomaly_app.errors import DataError

UPSERT = "'connector' = 'upsert-kafka', 'topic' = 's', 'key.format' = 'json', 'value.format' = 'json'"
STOCK = f"CREATE TABLE stock (id INT, qty INT, PRIMARY KEY (id) NOT ENFORCED) WITH ({UPSERT}); SELECT * FROM stock"
TIMED = f"""CREATE TABLE stock (id INT, qty INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts, PRIMARY KEY (id) NOT ENFORCED)
WITH ({UPSERT}); SELECT id, qty FROM stock"""
EVENTS = """CREATE TABLE events (id INT, qty INT) WITH (
    'connector' = 'kafka', 'topic' = 'e', 'format' = 'debezium-json');
SELECT * FROM events"""


def rows(capsys: pytest.CaptureFixture[str], sql: str, table: str) -> list[dict[str, Any]]:
    assert main(["query", sql, "--table", table, "--json"]) == 0
    return list(json.loads(capsys.readouterr().out)["rows"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_column_of_kinds_each_row_takes_the_place_of_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    Path("stock.csv").write_text("id,qty\n1,5\n2,6\n1,7\n")
    assert rows(capsys, STOCK, "stock=stock.csv") == [{"id": 2, "qty": 6}, {"id": 1, "qty": 7}]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_column_tells_what_a_row_does(capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    given = [("+I", 1, 5), ("+U", 2, 6), ("-D", 1, None)]
    if suffix == "csv":
        lines = ["op,id,qty", *(f"{kind},{id_},{'' if qty is None else qty}" for kind, id_, qty in given)]
    else:
        lines = [json.dumps({"op": kind, "id": id_, "qty": qty}) for kind, id_, qty in given]
    Path(f"stock.{suffix}").write_text("\n".join(lines))
    assert rows(capsys, STOCK, f"stock=stock.{suffix}") == [{"id": 2, "qty": 6}]
    whole = EVENTS.replace("events", "stock")
    if suffix == "csv":
        assert rows(capsys, whole, "stock=stock.csv") == [{"id": 1, "qty": 5}, {"id": 2, "qty": 6}]


def test_a_deletion_needs_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    Path("stock.csv").write_text(
        "op,id,qty,ts\n+U,1,5,2026-01-01 00:00:01\n+U,2,5,2026-01-01 00:00:02\n-D,1,,\n+U,3,1,\n"
    )
    assert main(["query", TIMED, "--table", "stock=stock.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == [{"id": 2, "qty": 5}]
    assert [bad["where"] for bad in found["rejected"]] == ["line 5"]


def test_events_of_debezium_with_and_without_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Any] = [
        {"op": "r", "before": None, "after": {"id": 1, "qty": 5}, "source": {"db": "x"}},
        {"schema": {}, "payload": {"op": "c", "after": {"id": 2, "qty": "6"}}},
        {"op": "u", "before": {"id": 1, "qty": 5}, "after": {"id": 1, "qty": 7}},
        None,
        {"op": "d", "before": {"id": 2, "qty": 6}},
        {"op": "u", "before": None, "after": {"id": 9}},
        {"op": "x"},
    ]
    Path("events.jsonl").write_text("\n".join(map(json.dumps, events)))
    assert main(["query", EVENTS, "--table", "events=events.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == [{"id": 1, "qty": 7}]
    assert [(bad["where"], bad["reason"]) for bad in found["rejected"]] == [
        ("line 6", "no event of Debezium: 'before' is null"),
        ("line 7", "no event of Debezium: 'op' is 'x': it must be c, r, u or d"),
    ]


def test_a_column_of_that_name_of_a_table_that_only_grows_is_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text("op,id\n-D,1\n")
    assert rows(capsys, "SELECT op, id FROM t", "t=t.csv") == [{"op": "-D", "id": 1}]


def test_what_is_no_kind_or_no_event() -> None:
    Path("stock.csv").write_text("op,id\n+U,1\n+X,2\n")
    with pytest.raises(DataError, match=r"line 3: column 'op': '\+X' is no kind of change"):
        read_changes(Path("stock.csv"), False)
    Path("events.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="no event can be read; the first: line 1"):
        read_changes(Path("events.jsonl"), True)
