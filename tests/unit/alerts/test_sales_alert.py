"""The tutorial's own job, from its file to the sentence that a person reads."""

from __future__ import annotations

from importlib.resources import files

from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.jobs.binder import bind_job

START = 1_752_156_415_000  # 2025-07-10 14:06:55


def sales_sql() -> str:
    return files("anomaly_app.jobs").joinpath("unusual_sales.sql").read_text()


def explain(sql: str, quantities: list[str]) -> list[str]:
    job = bind_job(sql, name="unusual_sales")
    (plan,) = job.plans
    task = plan.create_task()
    values = {"user_id": "user-67", "invoice_id": "785"}
    rows = []
    for number, quantity in enumerate(quantities):
        row = {**values, "quantity": quantity, "purchase_time": START + 1_000 * number}
        rows.append((row["purchase_time"], number, *(row[column.name] for column in plan.layout.columns)))
    task.process(rows, end=len(rows))
    task.finish()
    builder = AlertBuilder(job, plan, plan.queries[0])
    return [
        builder.build(finding, partition=0, offset=finding.last[1], detected_ms=0).explanation
        for _, finding in task.take().findings
    ]


def test_an_unusual_sale_is_told_with_quantity_average_and_rows() -> None:
    assert explain(sales_sql(), ["1", "2", "1", "30", "2"]) == [
        "user_id user-67 at 2025-07-10 14:06:58.000: quantity 30 > avg_quantity 1 × 3; "
        "unusual_invoice_id 785, unusual_quantity 30. "
        "TYPICAL_SALE: 3 rows from 2025-07-10 14:06:55.000 to 2025-07-10 14:06:57.000 (quantity 1, 2, 1); "
        "matched (TYPICAL_SALE+? UNUSUAL_SALE) WITHIN INTERVAL '10' SECOND "
        "because UNUSUAL_SALE.quantity > AVG(CAST(TYPICAL_SALE.quantity AS INT)) * 3."
    ]


def test_a_column_that_only_has_the_name_of_a_measure_is_not_taken_for_it() -> None:
    columns = "user_id, unusual_invoice_id, unusual_quantity, unusual_tstamp, avg_quantity + 100 AS avg_quantity"
    sql = sales_sql().replace("SELECT *", f"SELECT {columns}, avg_first_sale_tstamp, avg_last_sale_tstamp")
    (text,) = explain(sql, ["1", "2", "1", "30", "2"])
    assert "quantity 30 > AVG(CAST(TYPICAL_SALE.quantity AS INT)) × 3; " in text
    assert "avg_quantity 101" in text
