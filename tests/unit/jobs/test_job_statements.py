"""Job files: statements about names, functions in Python, and what only tells."""

from __future__ import annotations

import pytest

from anomaly_app import SqlValidationError
from anomaly_app.jobs.alter import altered
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.jobs.model import Job
from anomaly_app.sql import parse_statements
from anomaly_app.sql.commands import Alter
from anomaly_app.sql.statements import CreateTable

WITH = "WITH ('connector' = 'kafka', 'topic' = '{}', 'format' = 'json')"
SALES = f"CREATE TABLE sales (id STRING, qty INT) {WITH.format('sales')};"


def _job(text: str, modules: tuple[str, ...] = ()) -> Job:
    return bind_job(text, name="job", modules=modules)


def _topics(job: Job) -> list[str]:
    return [plan.source.topic for plan in job.plans]


def test_what_only_tells_is_a_warning() -> None:
    job = _job(f"{SALES} SHOW TABLES;\nDESCRIBE sales; EXPLAIN SELECT id FROM sales; SET; SELECT id FROM sales")
    assert [warning.partition(" tells")[0] for warning in job.warnings] == [
        "line 1: SHOW TABLES", "line 2: DESCRIBE", "line 2: EXPLAIN", "line 2: SET",
    ]  # fmt: skip
    with pytest.raises(SqlValidationError, match=r"SHOW TABLES stands here in vain: Session\.execute"):
        bind_text(f"{SALES} SHOW TABLES; SELECT id FROM sales", {})


def test_names_are_those_of_the_current_database() -> None:
    job = _job(
        f"CREATE DATABASE shop; USE shop; {SALES} CREATE VIEW v AS SELECT id FROM sales; USE default_database;"
        f"CREATE TABLE sales (id STRING) {WITH.format('others')};"
        "SELECT id FROM shop.v; SELECT id FROM sales; SELECT id FROM shop.sales"
    )
    assert [(plan.source.name, plan.source.topic) for plan in job.plans] == [
        ("shop.sales", "sales"),
        ("sales", "others"),
    ]
    assert [len(plan.queries) for plan in job.plans] == [2, 1]


def test_alter_and_like_count_for_what_is_behind_them() -> None:
    job = _job(
        f"{SALES} ALTER TABLE sales SET ('topic' = 'sales-2'); ALTER TABLE sales RENAME TO purchases;"
        f"CREATE TABLE more (note STRING) WITH ('topic' = 'more') LIKE purchases;"
        "SELECT id FROM purchases; SELECT id, note FROM more"
    )
    assert _topics(job) == ["sales-2", "more"]


def test_a_table_of_like_is_known_before_it_is_made_if_nothing_is_dropped() -> None:
    assert _topics(_job(f"{SALES} SELECT id FROM u; CREATE TABLE u WITH ('topic' = 'u') LIKE sales")) == ["u"]


def test_drop_behind_the_queries_leaves_them_alone() -> None:
    job = _job(f"{SALES} SELECT id FROM sales; DROP TABLE sales; DROP TABLE IF EXISTS sales")
    assert _topics(job) == ["sales"]
    with pytest.raises(SqlValidationError, match="unknown table 'sales'"):
        _job(f"{SALES} DROP TABLE sales; SELECT id FROM sales")
    rows = bind_text(f"{SALES} SELECT id FROM sales; DROP TABLE sales", {})
    assert rows.factory.output[0].name == "id"


def test_a_name_means_one_table_for_all_queries_of_a_job() -> None:
    other = f"CREATE TABLE sales (id STRING) {WITH.format('others')};"
    with pytest.raises(SqlValidationError, match="table sales is another one than for the queries above"):
        _job(f"{SALES} SELECT id FROM sales; DROP TABLE sales; {other} SELECT id FROM sales")


def test_a_wrong_view_is_refused_though_nobody_reads_it_also_behind_use() -> None:
    with pytest.raises(SqlValidationError, match="unknown column 'nothing'"):
        _job(f"{SALES} CREATE VIEW v AS SELECT nothing FROM sales; SELECT id FROM sales; DROP VIEW v")


def test_an_error_of_an_altered_table_points_at_the_statement() -> None:
    text = f"{SALES} ALTER TABLE sales SET ('format' = 'jsn'); SELECT id FROM sales"
    with pytest.raises(SqlValidationError) as caught:
        _job(text)
    assert (caught.value.line, caught.value.column) == (1, text.index("'format' = 'jsn'") + 1)


def test_reset_takes_back_what_set_says() -> None:
    text = f"{SALES} SET 'anomaly.alerts' = 'none'; SELECT id FROM sales; RESET 'anomaly.alerts'; SELECT qty FROM sales"
    (first, second) = _job(text).plans[0].queries
    assert (first.alerts.value, second.alerts.value) == (
        "none",
        _job(f"{SALES} SELECT id FROM sales").plans[0].queries[0].alerts.value,
    )


def test_functions_come_from_allowed_modules_only(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job_functions.py").write_text(
        "def one(x: int) -> int:\n    return x\ndef two(x: int) -> int:\n    return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    create = "CREATE FUNCTION f AS 'job_functions.one' LANGUAGE PYTHON;"
    with pytest.raises(SqlValidationError, match=r"functions\.modules allows no module 'job_functions': it is empty"):
        _job(f"{SALES} {create} SELECT f(qty) FROM sales")
    query = "SELECT f(qty) AS q FROM sales; SELECT id FROM sales"
    one = _job(f"{SALES} {create} {query}", ("job_functions",)).plans[0].queries
    two = _job(f"{SALES} {create.replace('one', 'two')} {query}", ("job_functions",)).plans[0].queries
    assert one[0].fingerprint != two[0].fingerprint, "state made by one function is not that of another"
    assert one[1].fingerprint == two[1].fingerprint


def test_a_column_that_a_computed_one_is_made_of_stays() -> None:
    create, alter = parse_statements("CREATE TABLE t (a INT, b AS a + 1, c INT); ALTER TABLE t DROP (c, a)")
    assert isinstance(create, CreateTable) and isinstance(alter, Alter)
    with pytest.raises(SqlValidationError, match="column 'a' cannot be dropped: it is in the computed column 'b'"):
        altered(create, alter)
