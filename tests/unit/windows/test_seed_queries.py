"""The two queries of the anomaly detection tutorial, word for word, over its table: from rows and from files."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import pytest

from anomaly_app import Rows, query
from anomaly_app.cli import main
from anomaly_app.generators import orders

GLOBAL = """\
SELECT
  customer_id,
  ts,
  price,
  anomaly_results[6] AS is_anomaly
FROM (
  SELECT
    customer_id,
    $rowtime as ts,
    price,
    ML_DETECT_ANOMALIES(price, $rowtime, JSON_OBJECT('horizon' VALUE 1, 'confidencePercentage' VALUE 90.0))
      OVER (ORDER BY $rowtime
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS anomaly_results
  FROM `examples`.`marketplace`.`orders`)
WHERE anomaly_results[6] IS NOT NULL;
"""
BY_CUSTOMER = """\
SELECT
  customer_id,
  ts,
  price,
  anomaly_results[6] AS is_anomaly
FROM (
  SELECT
    customer_id,
    $rowtime as ts,
    price,
    ML_DETECT_ANOMALIES(price, $rowtime, JSON_OBJECT('horizon' VALUE 1, 'minTrainingSize' VALUE 16, 'confidencePercentage' VALUE 90.0))
      OVER (PARTITION BY customer_id
            ORDER BY $rowtime
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS anomaly_results
  FROM `examples`.`marketplace`.`orders`)
WHERE anomaly_results[6] IS NOT NULL;
"""  # noqa: E501
QUERIES = {"global": (GLOBAL, 128), "by customer": (BY_CUSTOMER, 16)}
COLUMNS = [("order_id", "STRING"), ("customer_id", "INT"), ("product_id", "INT"), ("price", "DOUBLE")]


def order_rows(count=600, customers=5):
    """Orders of few customers, so that each has enough; a bit out of order."""
    made = []
    for record in orders().records(seed=3, count=count, start_ms=1_767_258_000_000, rate=50):
        value = {**record.value, "customer_id": 3000 + record.value["customer_id"] % customers}
        made.append((*value.values(), record.timestamp_ms))
    return [made[number ^ 1] for number in range(count)]


def table(rows, time="event_at"):
    return Rows(
        [*COLUMNS, (time, "TIMESTAMP_LTZ(3)")],
        [(*row[:-1], text(row[-1])) for row in rows],
        time,
        watermark_delay_ms=1_000,
    )


def text(millis):
    from anomaly_app.conversions import timestamp_to_text

    return timestamp_to_text(millis, 3)


@pytest.mark.parametrize("name", QUERIES)
def test_over_rows(name):
    sql, warm_up = QUERIES[name]
    rows = order_rows()
    result = query(sql, tables={"examples.marketplace.orders": table(rows)})
    assert [name for name, _ in result.columns] == ["customer_id", "ts", "price", "is_anomaly"]
    assert result.columns[3][1] == "BOOLEAN"
    rows.sort(key=lambda row: row[-1])
    keys = {row[1] for row in rows} if name == "by customer" else {None}
    for key in keys:
        own = [row for row in rows if key is None or row[1] == key]
        found = [(row[0], row[2]) for row in result.rows if key is None or row[0] == key]
        assert found == [(row[1], row[3]) for row in own[warm_up:]]
        assert len(found) > 50
    assert {type(row[3]) for row in result.rows} == {bool}
    assert [row[1] for row in result.rows] == sorted(row[1] for row in result.rows)


@pytest.mark.parametrize("time", ["order_time", "$rowtime", "ts"])
def test_rowtime_is_the_time_attribute_whatever_it_is_called(time):
    rows = order_rows(60)
    expected = query(GLOBAL, {"examples.marketplace.orders": table(rows)})
    assert query(GLOBAL, {"examples.marketplace.orders": table(rows, time)}).rows == expected.rows


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_over_a_file(name, ending, tmp_path: Path, capsys):
    sql, _ = QUERIES[name]
    (tmp_path / "query.sql").write_text(sql)
    file = tmp_path / f"orders.{ending}"
    run(capsys, "generate", "orders", "--records", "9000", "--start", "2026-01-01 09:00:00", "--output", str(file))
    printed = run(capsys, "query", str(tmp_path / "query.sql"), str(file), "--csv")
    rows = list(csv.DictReader(printed.splitlines()))
    assert len(rows) == (9000 - 128 if name == "global" else len(rows)) and len(rows) > 4_000
    assert {row["is_anomaly"] for row in rows} <= {"TRUE", "FALSE"}
    assert {3000 <= int(row["customer_id"]) <= 3250 and 0 <= float(row["price"]) <= 100 for row in rows} == {True}


def test_the_packaged_job_has_the_query_and_its_words(capsys):
    job = resources.files("anomaly_app").joinpath("jobs/unusual_orders.sql")
    assert BY_CUSTOMER in job.read_text("utf-8")
    words = run(capsys, "explain", str(job))
    assert "judges price by ML_DETECT_ANOMALIES (horizon 1, minTrainingSize 16, confidencePercentage 90.0)" in words
    assert "from the earlier rows of the same customer_id, then learns from it" in words
    assert "keeps it only if anomaly_results[6] IS NOT NULL" in words
    assert "a model for each key, written with the rows that change it, dropped after 30 days without rows" in words
    checked = run(capsys, "check", str(job))
    assert "orders -> unusual.orders: ML_DETECT_ANOMALIES(price) for each customer_id" in checked


def test_rows_for_a_query_are_given_once(capsys):
    assert main(["query", "SELECT a FROM t", "rows.csv", "--table", "t=rows.csv"]) == 2
    assert "not both" in capsys.readouterr().err


def run(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(args) == 0
    return capsys.readouterr().out
