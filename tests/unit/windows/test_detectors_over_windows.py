"""Detectors over the groups of windows, and the queries that WITH names: the counts of a minute as a series."""

from __future__ import annotations

import random

import pytest
from sample_detector import use_sample_functions

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.graph.vertices import place_in_source
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.jobs.model import Routing
from anomaly_app.jobs.task import PartitionTask, QuerySlot
from anomaly_app.operators import Layout
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type
from anomaly_app.testing.contract import check_contract

FRAME = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
TRAFFIC = """SELECT window_start, window_end, window_time, pickup_zone, COUNT(*) AS request_count
    FROM TABLE(TUMBLE(TABLE ride_requests, DESCRIPTOR(request_ts), INTERVAL '5' MINUTE)) WHERE fare > 0
    GROUP BY window_start, window_end, window_time, pickup_zone"""
JUDGED = f"""SELECT pickup_zone, window_time, request_count,
    ML_DETECT_ANOMALIES(CAST(request_count AS DOUBLE), window_time, JSON_OBJECT('minTrainingSize' VALUE 12))
    OVER (PARTITION BY pickup_zone ORDER BY window_time {FRAME}) AS anomaly_result FROM windowed_traffic"""
SURGES = f"""WITH windowed_traffic AS ({TRAFFIC}), anomaly_detection AS ({JUDGED})
SELECT pickup_zone, window_time, request_count, anomaly_result.forecast_value AS expected FROM anomaly_detection
WHERE anomaly_result.is_anomaly = true AND request_count > anomaly_result.upper_bound"""
COLUMNS = [("pickup_zone", "STRING"), ("fare", "DOUBLE"), ("request_ts", "TIMESTAMP(3)")]
SCHEMA = Schema(tuple(Column(name, parse_type(type_)) for name, type_ in COLUMNS), rowtime="request_ts")


@pytest.fixture(autouse=True)
def sample_functions(monkeypatch):
    use_sample_functions(monkeypatch)


def requests():
    """Of two zones, five or six in five minutes each, and a surge of twenty."""
    draw, rows = random.Random(1), []
    for window in range(20):
        for zone in ("north", "south"):
            many = 20 if (window, zone) == (17, "north") else draw.randint(5, 6)
            for _ in range(many):
                second = draw.randrange(300)
                rows.append((zone, 9.5, f"2026-01-01 {9 + window // 12:02d}:{window % 12 * 5 + second // 60:02d}:{second % 60:02d}"))  # fmt: skip # noqa: E501
    return Rows(COLUMNS, sorted(rows, key=lambda row: row[2]), rowtime="request_ts")


def test_a_surge_is_found():
    (row,) = query(SURGES, {"ride_requests": requests()}).rows
    assert (row[0], str(row[1]), row[2]) == ("north", "2026-01-01 10:29:59.999000", 20)
    assert 5 < row[3] < 6


def test_with_says_the_same_as_subqueries():
    nested = SURGES.partition("SELECT pickup_zone, window_time, request_count, anomaly")[2]
    nested = f"SELECT pickup_zone, window_time, request_count, anomaly{nested}".replace(
        "FROM anomaly_detection", f"FROM ({JUDGED.replace('windowed_traffic', f'({TRAFFIC}) AS w')})"
    )
    assert "WITH" not in nested
    assert query(nested, {"ride_requests": requests()}).rows == query(SURGES, {"ride_requests": requests()}).rows


@pytest.mark.parametrize("kind", ["TUMBLE", "HOP", "SESSION", "expires"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_operator_contract(kind, seed):
    sql = SURGES.replace("'minTrainingSize' VALUE 12", "'minTrainingSize' VALUE 2, 'width' VALUE 1")
    sql = sql.replace("anomaly_result.is_anomaly = true AND request_count > anomaly_result.upper_bound", "fare_ > 0")
    sql = sql.replace("COUNT(*) AS request_count", "SUM(fare) AS request_count, MAX(fare) AS fare_")
    sql = sql.replace("window_time, request_count,", "window_time, request_count, fare_,")
    if kind == "HOP":
        sql = sql.replace("TUMBLE", "HOP").replace("INTERVAL '5' MINUTE", "INTERVAL '1' MINUTE, INTERVAL '5' MINUTE")
    elif kind == "SESSION":
        sql = sql.replace("TUMBLE", "SESSION").replace(
            "ride_requests, DESC", "ride_requests PARTITION BY pickup_zone, DESC"
        )
    elif kind == "expires":
        sql = f"SET 'table.exec.state.ttl' = '12 min'; {sql}"
    factory = bind_text(sql, {"ride_requests": SCHEMA}).factory
    draw, time, rows = random.Random(seed), 0, []
    for position in range(40):
        time += draw.choice((0, 1_000, 60_000, 400_000))
        rows.append((time, position, draw.choice("ab"), float(draw.randrange(5)), time))
    # A row opens up to five windows, of which each is a group, a model and a time.
    check_contract(lambda: factory.create(Layout(SCHEMA.columns)), rows, seed=seed, per_row=40)


def test_a_row_that_fails_behind_the_detector_is_a_problem_with_the_columns_that_it_had_there():
    sql = SURGES.replace("SELECT pickup_zone, window_time, request_count, anomaly_result.forecast_value AS expected",
                         "SELECT 1 / (request_count - 2) AS x").partition("WHERE anomaly_result")[0]  # fmt: skip
    factory = bind_text(sql, {"ride_requests": SCHEMA}).factory
    operator = factory.create(Layout(SCHEMA.columns))
    rows = [(1_000 * n, n, "north", 1.0, 1_000 * n) for n in range(2)]
    assert operator.process(rows, 400_000) == []
    (problem,) = operator.problems
    assert problem.key == ("north",) and problem.node.startswith("Detect ML_DETECT_ANOMALIES")
    assert problem.layout is not None
    names, ((time, position, *values, origin),) = [column.name for column in problem.layout.columns], problem.rows
    assert dict(zip(names, values, strict=True)) == {"pickup_zone": "north", "request_count": 2}
    assert (time, position) == (299_999, 1) and place_in_source(problem.rows[0], 4) == (1, None) and origin


def test_rows_meet_by_the_keys_of_the_detector():
    job = f"""CREATE TABLE ride_requests (pickup_zone STRING, fare DOUBLE, request_ts TIMESTAMP(3), kind STRING,
        WATERMARK FOR request_ts AS request_ts) WITH ('connector' = 'kafka', 'topic' = 'in', 'format' = 'json');
        {SURGES.replace("window_time, pickup_zone", "window_time, kind, pickup_zone")};"""
    (plan,) = bind_job(job, name="surges").plans
    assert plan.routing is Routing.REPARTITION and plan.partition_by == ("pickup_zone",)
    factory = plan.queries[0].factory
    assert factory.description.startswith("ML_DETECT_ANOMALIES(CAST(request_count AS DOUBLE)) for each pickup_zone")
    assert any("judges CAST(request_count AS DOUBLE) by" in words for words in factory.words)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ORDER BY window_time", "ORDER BY request_count", "must be the time attribute, window_time"),
        ("window_end, window_time, pickup_zone, COUNT", "window_end, pickup_zone, COUNT", "GROUP BY has window_time"),
        ("anomaly_detection AS", "windowed_traffic AS", "WITH names windowed_traffic twice"),
        ("WITH ", "WITH RECURSIVE ", "WITH RECURSIVE is not supported"),
        ("FROM anomaly_detection", "FROM anomaly_detections", "unknown table 'anomaly_detections'"),
        ("TABLE ride_requests", "TABLE windowed_traffic", "unknown table 'windowed_traffic'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(old, new, message):
    assert old in SURGES
    with pytest.raises(SqlValidationError) as caught:
        bind_text(SURGES.replace(old, new, 1), {"ride_requests": SCHEMA})
    assert message in caught.value.problem


def test_named_queries_are_not_nested_without_bound():
    parts = ["q0 AS (SELECT fare FROM ride_requests)"]
    parts += [f"q{number} AS (SELECT fare FROM q{number - 1})" for number in range(1, 401)]
    with pytest.raises(SqlValidationError, match="nested more than 400 levels deep"):
        bind_text(f"WITH {', '.join(parts)} SELECT fare FROM q400", {"ride_requests": SCHEMA})


def test_windows_of_processing_time_end_by_the_clock():
    """And with them the rows that the detector judges."""
    schema = Schema((*SCHEMA.columns[:2], Column("p", parse_type("TIMESTAMP_LTZ(3) NOT NULL"))), proctime="p")
    sql = f"""SELECT pickup_zone, ML_DETECT_ANOMALIES(request_count, window_time)
        OVER (PARTITION BY pickup_zone ORDER BY window_time {FRAME})[2] AS c
        FROM ({TRAFFIC.replace("request_ts", "p")})"""
    bound = bind_text(sql, {"ride_requests": schema})
    task = PartitionTask([QuerySlot("q", bound.factory.create(bound.layout))], mode=bound.tables[0].mode)
    task.process([(60_000, 0, "north", 1.0, 60_000)], end=1)
    assert not task.is_due(299_999) and task.is_due(300_000)
    task.advance(300_000)
    assert [finding.values for _, finding in task.take().findings] == [("north", 1.0)]
