"""SET 'anomaly.alerts' = 'where column': all rows go to the table, and those that the column marks are alerts."""

from __future__ import annotations

import pytest

from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Alerts
from anomaly_app.operators import Finding

TABLES = """
CREATE TABLE sales (qty INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (
    'connector' = 'kafka', 'topic' = 'sales', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE judged (qty INT, large BOOLEAN) WITH ('connector' = 'kafka', 'topic' = 'judged', 'format' = 'json');
"""


def finding(*values: object, alert: bool = True) -> Finding:
    return Finding((), 0, values, (0,), alert=alert)


def test_a_column_says_which_rows_are_alerts() -> None:
    text = f"{TABLES} SET 'anomaly.alerts' = 'where large'; INSERT INTO judged SELECT qty, qty > 9 FROM sales"
    [query] = bind_job(text, name="j").plans[0].queries
    assert (query.alerts, query.mark) == (Alerts.MARKED, 1)
    assert [query.tells(finding(10, mark)) for mark in (True, False, None)] == [True, False, False]


def test_other_statements_are_as_before() -> None:
    text = f"{TABLES} INSERT INTO judged SELECT qty, qty > 9 FROM sales"
    marked, reset = "SET 'anomaly.alerts' = 'where large';", "RESET 'anomaly.alerts';"
    assert bind_job(text, name="j").plans[0].queries[0].alerts is Alerts.NONE
    assert bind_job(f"{marked}{reset}{text}", name="j").plans[0].queries[0].alerts is Alerts.NONE
    query = bind_job(f"SET 'anomaly.alerts' = 'all'; {text}", name="j").plans[0].queries[0]
    assert query.tells(finding(1, False, alert=False))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("where larg", "the rows have no column 'larg'; did you mean large"),
        ("where qty", "qty is INT, and must be a BOOLEAN"),
        ("sometimes", "must be 'all', 'none', 'auto' or 'where', and a column"),
    ],
)
def test_a_column_that_cannot_say_it_is_an_error(said: str, problem: str) -> None:
    text = f"{TABLES} SET 'anomaly.alerts' = '{said}'; INSERT INTO judged SELECT qty, qty > 9 FROM sales"
    with pytest.raises(SqlValidationError, match=problem):
        bind_job(text, name="j")


def test_columns_tell_alerts_apart() -> None:
    text = f"{TABLES} SET 'anomaly.alerts' = 'all'; SET 'anomaly.alerts.key' = 'large, `qty`'; {{}}"
    insert = "INSERT INTO judged SELECT qty, qty > 9 AS large FROM sales"
    job = bind_job(text.format(insert), name="j")
    [plan] = job.plans
    builder = AlertBuilder(job, plan, plan.queries[0])
    made = builder.build(finding(10, True), partition=0, offset=0, detected_ms=0)
    assert made.key == {"large": True, "qty": 10}
    [usual] = bind_job(text.format(f"RESET 'anomaly.alerts.key'; {insert}"), name="j").plans[0].queries
    assert usual.about is None
    with pytest.raises(
        SqlValidationError, match=r"'anomaly\.alerts\.key' = 'larg': the rows have no column 'larg'; did"
    ):
        bind_job(f"{TABLES} SET 'anomaly.alerts' = 'all'; SET 'anomaly.alerts.key' = 'larg'; {insert}", name="j")


def test_rows_that_are_taken_back_cannot_be_alerts() -> None:
    text = f"""{
        TABLES.replace("large BOOLEAN)", "large BOOLEAN, PRIMARY KEY (qty) NOT ENFORCED)")
        .replace(
            "'topic' = 'judged', 'format' = 'json'",
            "'topic' = 'judged', 'key.format' = 'json', 'value.format' = 'json'",
        )
        .replace(
            "WITH ('connector' = 'kafka', 'topic' = 'judged'", "WITH ('connector' = 'upsert-kafka', 'topic' = 'judged'"
        )
    }
    SET 'anomaly.alerts' = 'where large'; INSERT INTO judged SELECT qty, COUNT(*) > 9 FROM sales GROUP BY qty"""
    with pytest.raises(SqlValidationError, match="which cannot be taken back"):
        bind_job(text, name="j")
