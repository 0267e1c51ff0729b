"""``query()`` over tables whose event time is computed, and CURRENT_WATERMARK."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from anomaly_app import DataError, Result, Rows, SqlValidationError, query
from anomaly_app.cli import main
from anomaly_app.jobs.binder import bind_job

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
START = 1_767_258_000_000
NINE = datetime(2026, 1, 1, 9)
EPOCH = """
CREATE TABLE t (id INT, ms BIGINT, ts AS TO_TIMESTAMP_LTZ(ms, 3), per AS 100 / id,
                WATERMARK FOR ts AS ts - INTERVAL '2' SECOND);
"""
WINDOWS = "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end"


def run(sql: str, *rows: tuple[Any, ...], **given: Any) -> Result:
    return query(sql, {"t": Rows(rows=rows, **given)})


def test_rows_bring_the_plain_columns_only() -> None:
    result = run(EPOCH + "SELECT * FROM t", (1, START), (2, START + 500))
    assert result.columns == [("id", "INT"), ("ms", "BIGINT"), ("ts", "TIMESTAMP_LTZ(3)"), ("per", "INT")]
    at = NINE.replace(tzinfo=UTC)
    assert result.rows == [(1, START, at, 100), (2, START + 500, at + timedelta(milliseconds=500), 50)]
    named = run(EPOCH + "SELECT id FROM t", (START, 7), columns=[("ms", "BIGINT"), ("id", "INT")])
    assert named.rows == [(7,)]
    with pytest.raises(DataError, match="no column 'ms'; they have id"):
        run(EPOCH + "SELECT id FROM t", (7,), columns=[("id", "INT")])


def test_a_row_without_a_time_or_on_which_an_expression_fails_costs_itself() -> None:
    rows = [(1, START), (2, None), (0, START), (None, START + 62_000), ("x", START), (3, START * 1_000), (4, START)]
    result = run(EPOCH + f"SELECT window_start, COUNT(*) AS n {WINDOWS}", *rows)
    assert result.rows == [(NINE, 1), (NINE + timedelta(minutes=1), 1)]
    no_time = "the event time ts, TO_TIMESTAMP_LTZ(ms, 3), is NULL"
    assert [(each.number, each.reason) for each in result.rejected] == [
        (2, no_time),
        (3, "computed column per: division by zero"),
        (5, "column id: 'x' (str) is not an INT"),
        (6, no_time),
    ]
    assert [each.values for each in result.rejected[:2]] == [(2, None), (0, START)]
    assert [row[0] for row in result.late] == [4] and len(result.late[0]) == 4


@pytest.mark.parametrize(
    "computed",
    [
        "at STRING, ts AS TO_TIMESTAMP(at, 'yyyy/MM/dd HH:mm:ss')",
        "at STRING, ts AS CAST(REPLACE(at, '/', '-') AS TIMESTAMP(3))",
        "at STRING, ts AS CASE WHEN at LIKE '2026%' THEN TO_TIMESTAMP(at, 'yyyy/MM/dd HH:mm:ss') END",
    ],
)
def test_event_time_from_a_text(computed: str) -> None:
    table = f"CREATE TABLE t ({computed}, WATERMARK FOR ts AS ts);"
    assert run(table + "SELECT ts FROM t", ("2026/01/01 09:00:00",), (None,)).rows == [(NINE,)]


def test_event_time_from_a_field() -> None:
    table = "CREATE TABLE t (r ROW<`at` TIMESTAMP(3), v INT>, ts AS r.`at`, WATERMARK FOR ts AS ts);"
    result = run(table + f"SELECT SUM(r.v) AS v {WINDOWS}", (("2026-01-01 09:00:00", 3),), (None,), ((None, 5),))
    assert result.rows == [(3,)] and len(result.rejected) == 2


@pytest.mark.parametrize("kind", ["TIMESTAMP(3)", "TIMESTAMP_LTZ(3)"])
def test_what_the_watermark_was_when_a_row_came(kind: str) -> None:
    table = f"CREATE TABLE t (id INT, ts {kind}, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND);"
    seconds = [(1, 5), (0, 9), (2, 3), (3, 12), (4, 11)]
    rows = [(id_, (NINE + timedelta(seconds=second)).isoformat(sep=" ")) for id_, second in seconds]
    fronts = [None, 4, 8, 8, 11]

    def shown(front: int | None) -> datetime | None:
        if front is None:
            return None
        return (NINE + timedelta(seconds=front)).replace(tzinfo=UTC if "LTZ" in kind else None)

    wanted = [(id_, shown(front)) for (id_, _), front in zip(seconds, fronts, strict=True)]
    plain = run(table + "SELECT id, CURRENT_WATERMARK(ts) AS w FROM t", *rows)
    assert plain.rows == wanted and plain.columns[1] == ("w", kind)
    view = "CREATE VIEW v AS SELECT id AS i, ts AS at FROM t WHERE id > 0;"
    filtered = run(table + view + "SELECT i, CURRENT_WATERMARK(at) FROM v", *rows)
    assert filtered.rows == [row for row in wanted if row[0]], "rows that are filtered out move it too"
    twice = (
        "SELECT i, CURRENT_WATERMARK(at) AS w FROM v UNION ALL SELECT i + 10, CURRENT_WATERMARK(at) FROM v WHERE i > 3"
    )
    assert run(table + view + twice, *rows).rows[-1] == (14, shown(11))
    in_time = "SELECT id FROM (SELECT *, CURRENT_WATERMARK(ts) AS w FROM t) WHERE w IS NULL OR ts > w"
    assert run(table + in_time, *rows).rows == [(1,), (0,), (3,)]
    pattern = (
        "SELECT * FROM (SELECT id, ts, CURRENT_WATERMARK(ts) AS w FROM t) "
        "MATCH_RECOGNIZE (ORDER BY ts MEASURES A.id AS a, B.w AS w PATTERN (A B) DEFINE A AS A.id = 0)"
    )
    matched = run(table + pattern, *rows, (5, "2026-01-01 09:00:20"))
    assert matched.rows == [(0, shown(8))] and [row[0] for row in matched.late] == [2, 4]


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("CURRENT_WATERMARK(ts)", "not the event time of a table"),
        ("CURRENT_WATERMARK(id)", "not the event time of a table"),
        ("CURRENT_WATERMARK()", "takes the time attribute"),
        ("CURRENT_WATERMARK(CAST(ts AS TIMESTAMP(3)))", "takes the time attribute"),
    ],
)
def test_only_a_table_has_a_watermark(what: str, problem: str) -> None:
    from_ = "(SELECT id, CAST(ts AS TIMESTAMP(3)) AS ts FROM t)"
    with pytest.raises(SqlValidationError, match=problem):
        run(EPOCH + f"SELECT {what} FROM {from_}")


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / "job.sql"
    job.write_text(EPOCH + "SELECT id, ts FROM t")
    (tmp_path / "t.csv").write_text(f"id,ms\n1,{START}\n2,\n")
    (tmp_path / "t.jsonl").write_text(f'{{"id": 1, "ms": {START}}}\n{{"id": 2}}\n')
    for name in ("t.csv", "t.jsonl"):
        command = ["query", str(job), "--table", f"t={tmp_path / name}"]
        assert main([*command, "--json"]) == 0
        assert "2026-01-01 09:00:00" in capsys.readouterr().out.replace("T", " ")
        assert main([*command, "--rejected"]) == 0
        assert "the event time ts, TO_TIMESTAMP_LTZ(ms, 3), is NULL" in capsys.readouterr().out


def test_each_way_of_the_docs_binds() -> None:
    (job,) = re.findall(r"```sql\n(CREATE TABLE readings .*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    first, *others = re.findall(r"event_time AS TO_.*?(?=,  )", job)
    assert len(others) == 2
    for way in (first, *others):
        bound = bind_job(job.replace(first, way, 1), name="docs")
        assert bound.plans[0].source.schema.rowtime == "event_time" and not bound.warnings
