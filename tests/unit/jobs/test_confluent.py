"""Statements as Confluent Cloud has them: CREATE TABLE AS, tables without connector, comments that end statements."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, Session, query
from anomaly_app.errors import SqlError, SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Alerts
from anomaly_app.sql import parse_statements

TRANSACTIONS = """CREATE TABLE transactions (
    TransactionID INT NOT NULL, amount FLOAT, at TIMESTAMP(3),
    PRIMARY KEY (TransactionID) NOT ENFORCED,
    WATERMARK FOR at AS at - INTERVAL '20' SECOND
) WITH ('changelog.mode' = 'append')"""


def test_a_table_without_connector_is_a_topic_of_its_name_in_avro_keyed_by_its_primary_key() -> None:
    job = bind_job(f"{TRANSACTIONS}; SELECT amount, TransactionID FROM transactions", name="job")
    (plan,) = job.plans
    source = plan.source
    assert (source.topic, source.value_format.name) == ("transactions", "avro-confluent")
    assert source.key_format is not None
    assert (source.key_format.name, source.key_fields) == ("avro-confluent", ("TransactionID",))
    assert source.value_fields == ("amount", "at"), "the key is left out of the value"
    assert plan.source.schema.watermark_delay_ms == 20_000


def test_a_table_with_upserts_is_written_by_key() -> None:
    text = f"""{TRANSACTIONS};
        CREATE TABLE totals (TransactionID INT NOT NULL, n BIGINT, PRIMARY KEY (TransactionID) NOT ENFORCED);
        INSERT INTO totals SELECT TransactionID, COUNT(*) FROM transactions GROUP BY TransactionID"""
    (plan,) = bind_job(text, name="job").plans
    sink = plan.queries[0].sink
    assert sink is not None
    assert (sink.connector, sink.topic, sink.key_fields) == ("upsert-kafka", "totals", ("TransactionID",))


def test_options_of_confluent_count_or_are_warned_of() -> None:
    options = "'changelog.mode' = 'append', 'kafka.retention.time' = '7 d', 'value.format' = 'json'"
    options += ", 'scan.startup.mode' = 'latest-offset', 'kafka.consumer.isolation-level' = 'read-committed'"
    job = bind_job(f"CREATE TABLE t (a INT) WITH ({options}); SELECT a FROM t", name="job")
    source = job.plans[0].source
    assert source.value_format.name == "json"
    assert source.client["isolation.level"] == "read_committed"
    assert "table t: 'kafka.retention.time' has no meaning here and is ignored" in job.warnings


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("'changelog.mode' = 'retract'", "'retract' is not supported"),
        ("'changelog.mode' = 'other'", "must be one of append, upsert, retract"),
        ("'value.format' = 'proto-registry'", "'value.format' must be one of avro-registry"),
    ],
)
def test_what_is_not_supported_of_confluent_is_told(options: str, problem: str) -> None:
    with pytest.raises(SqlValidationError, match=problem):
        bind_job(f"CREATE TABLE t (a INT) WITH ({options}); SELECT a FROM t", name="job")


def test_options_of_tables_may_stand_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC", "from-env")
    text = "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = '${env:TOPIC}', 'format' = 'json'); "
    assert bind_job(text + "SELECT a FROM t", name="job").plans[0].source.topic == "from-env"
    monkeypatch.delenv("TOPIC")
    with pytest.raises(SqlValidationError, match="'topic': the environment has no variable 'TOPIC'"):
        bind_job(text + "SELECT a FROM t", name="job")


# --- CREATE TABLE AS ----------------------------------------------------------------------------------


def test_create_table_as_makes_topic_and_insert_and_others_read_it() -> None:
    text = f"""{TRANSACTIONS};
        CREATE TABLE large AS SELECT TransactionID, amount * 2 AS twice FROM transactions WHERE amount > 5;
        CREATE TABLE larger DISTRIBUTED BY (TransactionID) INTO 4 BUCKETS AS SELECT * FROM large WHERE twice > 50"""
    job = bind_job(text, name="job")
    by_sink = {query.sink.topic: (plan, query) for plan in job.plans for query in plan.queries if query.sink}
    assert list(by_sink) == ["large", "larger"]
    assert [str(column.type) for column in by_sink["large"][0].queries[0].sink.columns] == ["INT NOT NULL", "FLOAT"]  # type: ignore[union-attr]
    assert by_sink["larger"][0].source.topic == "large"
    assert by_sink["large"][1].alerts is Alerts.NONE


def test_create_table_as_with_columns_of_its_own() -> None:
    session = Session({"t": Rows(columns=[("a", "INT"), ("b", "STRING")], rows=[(1, "x")])})
    result = session.execute("CREATE TABLE u (a BIGINT, c AS a + 1) AS SELECT b, a FROM t")
    assert result.rows == [("x", 1)]
    assert session.execute("DESCRIBE u").rows[0][:2] == ("c", "BIGINT")
    assert session.execute("SELECT a, b, c FROM u").rows == [(1, "x", 2)]


def test_a_star_behind_a_row_is_its_fields_unless_a_table_is_called_so() -> None:
    table = Rows(columns=[("event", "ROW<a INT, b STRING>"), ("a", "INT")], rows=[((1, "x"), 5), (None, 6)])
    result = query("SELECT a, event.* FROM t", {"t": table})
    assert (result.columns, result.rows) == (
        [("a", "INT"), ("a0", "INT"), ("b", "STRING")], [(5, 1, "x"), (6, None, None)],
    )  # fmt: skip
    assert query("SELECT event.* FROM t AS event", {"t": table}).rows == [((1, "x"), 5), (None, 6)]
    with pytest.raises(SqlError, match="nothing is not a table of this query"):
        query("SELECT nothing.* FROM t", {"t": table})


def test_create_table_as_is_a_query_with_rows() -> None:
    table = Rows(columns=[("a", "INT")], rows=[(1,), (7,)])
    assert query("CREATE TABLE u AS SELECT a FROM t WHERE a > 5", {"t": table}).rows == [(7,)]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("CREATE TABLE u (z INT) AS SELECT a FROM t", "column 'z' is none of the query"),
        ("CREATE TABLE u AS SELECT z FROM t", "unknown column 'z'"),
        ("CREATE TABLE u AS INSERT", "expected"),
    ],
)
def test_wrong_create_table_as(sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=problem):
        Session({"t": Rows(columns=[("a", "INT")], rows=[])}).execute(sql)


# --- comments that end statements ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE u AS SELECT a FROM t -- the next one\nINSERT INTO u SELECT a FROM t",
        "CREATE TABLE u AS SELECT a FROM t /* the next one */ INSERT INTO u SELECT a FROM t -- the end",
        "CREATE TABLE u AS SELECT a FROM t AS x -- one\n-- two\n\nINSERT INTO u SELECT a FROM t;",
    ],
)
def test_a_statement_ends_before_a_comment(text: str) -> None:
    names = [type(one).__name__ for one in parse_statements(text)]
    assert names == ["CreateTable", "Insert"]


@pytest.mark.parametrize("word", ["SHOW TABLES", "DESCRIBE t", "SET 'a' = 'b'", "EXPLAIN SELECT a FROM t", "USE d"])
def test_words_that_begin_statements_are_no_aliases_behind_a_comment(word: str) -> None:
    first, second = parse_statements(f"SELECT a FROM t -- and then\n{word}")
    assert type(first).__name__ == "Select"
    assert type(second).__name__ != "Select"


def test_without_a_comment_a_semicolon_is_needed() -> None:
    with pytest.raises(SqlError, match="expected ;"):
        parse_statements("SELECT a FROM t\nINSERT INTO u SELECT a FROM t")


def test_a_comment_inside_a_statement_ends_nothing() -> None:
    (one,) = parse_statements("SELECT a -- what\nFROM t -- which\nWHERE a > 1 -- enough\nAND a < 5")
    assert type(one).__name__ == "Select"
