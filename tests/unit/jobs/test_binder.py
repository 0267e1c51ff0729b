"""Binding: job files to plans, INSERTs to sinks, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.jobs.model import Routing
from anomaly_app.schema import INT, STRING, Column, Schema

ROOT = Path(__file__).parents[3]
SALES = (ROOT / "anomaly_app/jobs/unusual_sales.sql").read_text()
SEED = ROOT.parent / "shared/seeds/001_b369f250b9687885.txt"

SOURCE = """
CREATE TABLE events (
    id INT, k STRING, d DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'events', 'properties.bootstrap.servers' = 'b:9092', 'format' = 'json'{more});
"""
SINK = """
CREATE TABLE found ({columns}) WITH (
    'connector' = 'kafka', 'topic' = 'found', 'properties.bootstrap.servers' = 'b:9092', 'format' = 'json');
"""


def job(query: str, columns: str = "a INT, b STRING", more: str = "", **options):
    return bind_job(SOURCE.format(more=more) + SINK.format(columns=columns) + query, name="test", **options)


@pytest.mark.skipif(not SEED.exists(), reason="../shared is not there")
def test_the_sales_job_is_the_tutorials_word_for_word():
    blocks = re.findall(r"```sql\n(.*?)\n```", SEED.read_text(), re.DOTALL)
    beginnings = (
        "CREATE TABLE SalesRecordTable",
        "CREATE TABLE UnusualSalesRecordTable",
        "INSERT INTO UnusualSalesRecordTable",
    )
    statements = [next(block for block in blocks if block.startswith(beginning)) for beginning in beginnings]
    assert SALES == "\n\n".join(statements) + "\n"


def test_the_sales_job_is_bound():
    bound = bind_job(SALES, name="unusual_sales")
    (plan,) = bound.plans
    assert (plan.name, plan.routing, plan.partition_by) == (
        "SalesRecordTable-user_id",
        Routing.REPARTITION,
        ("user_id",),
    )
    assert [column.name for column in plan.layout.columns] == ["invoice_id", "user_id", "quantity", "purchase_time"]
    (query,) = plan.queries
    assert query.name == "UnusualSalesRecordTable"
    assert query.sink.topic == "flink.unusual.sales.records.interactive"
    assert [column.name for column in query.factory.output] == [column.name for column in query.sink.columns]
    assert query.factory.definitions == {
        "TYPICAL_SALE": "",
        "UNUSUAL_SALE": "UNUSUAL_SALE.quantity > AVG(CAST(TYPICAL_SALE.quantity AS INT)) * 3",
    }
    assert query.factory.description == "row pattern (TYPICAL_SALE+? UNUSUAL_SALE) WITHIN INTERVAL '10' SECOND"


@pytest.mark.parametrize(
    ("more", "partition_by", "partitions", "routing"),
    [
        ("", "PARTITION BY k", {}, Routing.REPARTITION),
        ("", "PARTITION BY k", {"events": 1}, Routing.DIRECT),
        (", 'key.format' = 'raw', 'key.fields' = 'k'", "PARTITION BY k", {}, Routing.DIRECT),
        (", 'key.format' = 'raw', 'key.fields' = 'k'", "PARTITION BY k, id", {}, Routing.DIRECT),
        (", 'key.format' = 'raw', 'key.fields' = 'k'", "PARTITION BY id", {}, Routing.REPARTITION),
        ("", "", {"events": 4}, Routing.SINGLE),
    ],
)
def test_routing(more, partition_by, partitions, routing):
    sql = f"SELECT * FROM events MATCH_RECOGNIZE ({partition_by} ORDER BY ts MEASURES A.id AS a PATTERN (A))"
    assert job(sql, more=more, partitions=partitions).plans[0].routing is routing


def test_a_plain_select_goes_straight_through():
    (plan,) = job("INSERT INTO found SELECT id, k FROM events WHERE d > 1").plans
    assert plan.routing is Routing.DIRECT
    assert [column.name for column in plan.layout.columns] == ["id", "k", "d"]


def test_queries_of_one_source_and_key_share_a_plan():
    match = "MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.id AS a PATTERN (A) DEFINE A AS A.d > {})"
    bound = job(
        "EXECUTE STATEMENT SET BEGIN"
        f" INSERT INTO found SELECT a, k FROM events {match.format(1)};"
        f" INSERT INTO found SELECT a, k FROM events {match.format(2)};"
        " INSERT INTO found SELECT id, k FROM events; END"
    )
    assert [[query.name for query in plan.queries] for plan in bound.plans] == [["found", "found-2"], ["found-3"]]
    fingerprints = [query.fingerprint for plan in bound.plans for query in plan.queries]
    assert len(set(fingerprints)) == 3


def test_the_fingerprint_sees_what_matters():
    def of(sql, columns="a INT, b STRING"):
        return job(sql, columns).plans[0].queries[0].fingerprint

    first = of("INSERT INTO found SELECT id, k FROM events")
    assert of("INSERT  INTO found\n  SELECT id, -- remark\n k FROM events;") == first
    assert of("INSERT INTO found SELECT id, k FROM events WHERE id > 1") != first


def test_the_name_of_state_is_the_querys_own():
    one, two = "SELECT id FROM events WHERE id > 1", "SELECT k FROM events"

    def slots(*queries):
        (plan,) = job(";".join(queries)).plans
        return {query.name: slot for slot, query in zip(plan.slots, plan.queries, strict=True)}

    both = slots(one, two)
    assert slots(two, one) == {"query": both["query-2"], "query-2": both["query"]}
    assert slots(two) == {"query": both["query-2"]}
    assert slots(one, one, two) == {
        "query": both["query"],
        "query-2": f"{both['query']}-2",
        "query-3": both["query-2"],
    }


def test_implicit_casts_and_column_lists():
    (plan,) = job("INSERT INTO found (b, a) SELECT k, id FROM events", "a BIGINT, b STRING, c DOUBLE").plans
    operator = plan.queries[0].factory.create(plan.layout)
    (finding,) = operator.process([(0, 0, 7, "x")], 10)
    assert finding.values == (7, "x", None)


def test_null_for_a_not_null_column_is_a_problem_of_the_row():
    (plan,) = job("INSERT INTO found SELECT id, k FROM events", "a INT, b STRING NOT NULL").plans
    operator = plan.queries[0].factory.create(plan.layout)
    assert operator.process([(0, 0, 7, None)], 10) == []
    assert "b is NOT NULL" in str(operator.problems[0].error)


@pytest.mark.parametrize(
    ("query", "columns", "message"),
    [
        ("INSERT INTO found SELECT id FROM events", "a INT, b STRING", "the query has 1 columns, found takes 2"),
        (
            "INSERT INTO found SELECT d, k FROM events",
            "a INT, b STRING",
            "d, is DOUBLE; a of found is INT: CAST(d AS INT)",
        ),
        ("INSERT INTO found SELECT id, id FROM events", "a INT, b STRING", "id, is INT; b of found is STRING"),
        ("INSERT INTO fond SELECT id, k FROM events", "a INT, b STRING", "unknown table 'fond'; did you mean found?"),
        ("INSERT INTO found SELECT id, k FROM event", "a INT, b STRING", "unknown table 'event'; did you mean events?"),
        ("INSERT INTO found (a, z) SELECT id, k FROM events", "a INT, b STRING", "found has no column 'z'"),
        ("INSERT INTO found (a) SELECT id FROM events", "a INT, b STRING NOT NULL", "b of found is NOT NULL"),
        ("INSERT INTO found SELECT id, kk FROM events", "a INT, b STRING", "unknown column 'kk'"),
        ("INSERT INTO found SELECT COUNT(id), k FROM events", "a INT, b STRING", "k is neither in GROUP BY nor inside"),
        ("", "a INT", "the job has no query"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(query, columns, message):
    with pytest.raises(SqlValidationError) as caught:
        job(query, columns)
    assert message in str(caught.value)
    assert re.match(r"line \d+, column \d+: ", str(caught.value))


def test_an_endless_input_is_not_sorted():
    sql = "SELECT * FROM events MATCH_RECOGNIZE (PARTITION BY k ORDER BY id MEASURES A.d AS a PATTERN (A))"
    with pytest.raises(SqlValidationError, match="ORDER BY must begin with the time attribute"):
        job(sql, dialect="standard")
    assert job(sql, dialect="standard", bounded=True).plans


def test_settings_in_a_job_file_are_warned_of():
    assert job("SET 'a' = 'b'; SELECT id FROM events").warnings == ("SET 'a' has no meaning here and is ignored",)


def test_one_query_for_rows_in_memory():
    table = Schema((Column("a", INT), Column("s", STRING)))
    assert bind_text("SELECT T.a FROM t AS T", {"t": table}).factory.reads == ("a",)
    with pytest.raises(SqlValidationError, match="expected one SELECT or INSERT, found 2"):
        bind_text("SELECT a FROM t; SELECT s FROM t", {"t": table})
    with pytest.raises(SqlValidationError, match="unknown dialect 'oracle'"):
        bind_text("SELECT a FROM t", {"t": table}, "oracle")


def test_of_equal_names_the_second_gets_a_number():
    rows = Rows([("id", "INT"), ("v", "INT")], [(1, 2)])
    result = query("SELECT id, v AS id, *, id + 1 AS id FROM t", {"t": rows})
    assert [name for name, _ in result.columns] == ["id", "id0", "id1", "v", "id2"]
    assert result.rows == [(1, 2, 1, 2, 2)]
    inner = query("SELECT * FROM (SELECT id, v AS id FROM t)", {"t": rows})
    assert (inner.columns, inner.rows) == ([("id", "INT"), ("id0", "INT")], [(1, 2)])
    assert query("SELECT id FROM (SELECT id, v AS id FROM t)", {"t": rows}).rows == [(1,)]
