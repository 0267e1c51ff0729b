from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from anomaly_app.alerts import encode
from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Job, Plan, Query
from anomaly_app.jobs.topic_tables import Format, Source
from anomaly_app.operators import MAX_WATERMARK, Finding, Layout, Row
from anomaly_app.plan.nodes import Scan
from anomaly_app.schema import BIGINT, DOUBLE, INT, STRING, TIMESTAMP_3, Column, DataType, Kind, Schema

UNUSUAL = "UNUSUAL_SALE.quantity > AVG(CAST(TYPICAL_SALE.quantity AS INT)) * 3"
PATTERN = "(TYPICAL_SALE+? UNUSUAL_SALE) WITHIN INTERVAL '10' SECOND"
START = 1_752_156_415_000  # 2025-07-10 14:06:55


@dataclass
class Factory:
    """As much of an operator factory as alerts look at."""

    output: Sequence[Column]
    partition_by: Sequence[str] | None = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    pattern_text: str = ""
    measures: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    all_rows: bool = False
    reads: Sequence[str] = ("user_id", "invoice_id", "quantity", "purchase_time")
    labels: Mapping[str, str] = field(default_factory=dict)
    alert_type: str = "selection"
    models: tuple[Any, ...] = ()

    columns: Sequence[Column] = ()
    scans: Sequence[Any] = ()

    @property
    def key(self) -> Sequence[Column]:
        return [column for column in self.columns or COLUMNS if column.name in (self.partition_by or ())]

    scans: Sequence[Scan] = ()

    def evidence(self, layout: Layout) -> Layout:
        return layout

    def roles_over(self, layouts: Mapping[str, Layout]) -> Mapping[str, Layout]:
        return {}


COLUMNS = (
    Column("user_id", STRING),
    Column("invoice_id", STRING),
    Column("quantity", STRING),
    Column("purchase_time", TIMESTAMP_3),
)


def builder(factory: Any, columns: tuple[Column, ...] = COLUMNS) -> AlertBuilder:
    source = Source("Sales", Schema(columns), "flink.sales.records", Format("json"))
    query = Query("unusual", factory, None, "0123456789")
    plan = Plan("p", source, (query,), Layout(columns))
    return AlertBuilder(Job("unusual_sales", "abc123", "", "", (plan,)), plan, query)


def sales_factory(**changes: Any) -> Factory:
    values: dict[str, Any] = {
        "partition_by": ("user_id",),
        "output": (
            Column("user_id", STRING),
            Column("unusual_invoice_id", STRING),
            Column("unusual_quantity", INT),
            Column("unusual_tstamp", TIMESTAMP_3),
            Column("avg_quantity", INT),
        ),
        "definitions": {"TYPICAL_SALE": "", "UNUSUAL_SALE": UNUSUAL},
        "pattern_text": PATTERN,
        "measures": {
            "unusual_invoice_id": "UNUSUAL_SALE.invoice_id",
            "unusual_quantity": "CAST(UNUSUAL_SALE.quantity AS INT)",
            "avg_quantity": "AVG(CAST(TYPICAL_SALE.quantity AS INT))",
        },
    }
    return Factory(**{"alert_type": "pattern", **values, **changes})


def sale(number: int, quantity: str, *extra: int) -> Row:
    time = START + 1_000 * number
    return (time, 100 + number, "user-67", f"invoice-{number}", quantity, time, *extra)


def sales_finding(*extra: int) -> Finding:
    rows = [sale(number, quantity, *extra) for number, quantity in enumerate(["1", "2", "1", "2"])]
    last: Row = (1_752_156_422_697, 107, "user-67", "7850", "30", 1_752_156_422_697, *extra)
    bindings = [*[("TYPICAL_SALE", row) for row in rows], ("UNUSUAL_SALE", last)]
    return Finding(("user-67",), last[0], ("user-67", "7850", 30, last[0], 1), last, bindings)


def build(factory: Any, finding: Finding, columns: tuple[Column, ...] = COLUMNS) -> Any:
    return builder(factory, columns).build(finding, partition=3, offset=107, detected_ms=1_752_156_423_000)


def test_a_sale_is_explained_with_its_quantity_the_average_and_the_rows_behind_it() -> None:
    alert = build(sales_factory(), sales_finding())
    assert alert.explanation == (
        "user_id user-67 at 2025-07-10 14:07:02.697: quantity 30 > avg_quantity 1 × 3; "
        "unusual_invoice_id 7850, unusual_quantity 30. "
        "TYPICAL_SALE: 4 rows from 2025-07-10 14:06:55.000 to 2025-07-10 14:06:58.000 (quantity 1, 2, 1, 2); "
        f"matched {PATTERN} because {UNUSUAL}."
    )


def test_without_the_text_of_the_measures_the_condition_keeps_what_is_not_known() -> None:
    alert = build(sales_factory(measures={}), sales_finding())
    assert ": quantity 30 > AVG(CAST(TYPICAL_SALE.quantity AS INT)) × 3; " in alert.explanation
    assert "avg_quantity 1" in alert.explanation


def test_running_measures_are_not_taken_for_what_the_condition_saw() -> None:
    alert = build(sales_factory(all_rows=True), sales_finding())
    assert "> AVG(CAST(TYPICAL_SALE.quantity AS INT)) × 3" in alert.explanation


def test_the_record_says_what_who_when_and_where() -> None:
    alert = build(sales_factory(), sales_finding())
    assert (alert.job, alert.version, alert.query, alert.type) == ("unusual_sales", "abc123", "unusual", "pattern")
    assert alert.key == {"user_id": "user-67"}
    assert alert.event_time == "2025-07-10T14:07:02.697Z"
    assert alert.detected_at == "2025-07-10T14:07:03.000Z"
    assert (alert.severity, alert.score) == ("medium", None)
    assert (alert.source.topic, alert.source.partition, alert.source.offset) == ("flink.sales.records", 3, 107)
    assert alert.payload == {
        "user_id": "user-67",
        "unusual_invoice_id": "7850",
        "unusual_quantity": 30,
        "unusual_tstamp": "2025-07-10T14:07:02.697",
        "avg_quantity": 1,
    }
    assert [row.variable for row in alert.rows] == ["TYPICAL_SALE"] * 4 + ["UNUSUAL_SALE"]
    assert alert.rows[0].values == {
        "user_id": "user-67",
        "invoice_id": "invoice-0",
        "quantity": "1",
        "purchase_time": "2025-07-10T14:06:55.000",
    }
    assert (alert.rows[0].partition, alert.rows[0].offset) == (3, 100)
    assert alert.rows_total == 5


def test_behind_a_repartition_rows_name_their_place_in_the_source() -> None:
    alert = build(sales_factory(), sales_finding(5, 9_000))
    assert {(row.partition, row.offset) for row in alert.rows} == {(5, 9_000)}
    assert set(alert.rows[0].values) == {column.name for column in COLUMNS}


def test_it_is_written_as_json() -> None:
    alert = build(sales_factory(), sales_finding())
    read = json.loads(encode(alert))
    assert read["id"] == alert.id and len(alert.id) == 32
    assert read["rows"][4]["values"]["quantity"] == "30"
    assert read["source"] == {"topic": "flink.sales.records", "partition": 3, "offset": 107}


def test_a_long_match_carries_its_first_and_last_rows_and_says_how_many_there_were() -> None:
    rows = [sale(number, "1") for number in range(500)]
    last = sale(500, "30")
    bindings = [*[("TYPICAL_SALE", row) for row in rows], ("UNUSUAL_SALE", last)]
    alert = build(sales_factory(), Finding(("user-67",), last[0], ("user-67", "x", 30, last[0], 1), last, bindings))
    assert (len(alert.rows), alert.rows_total) == (20, 501)
    assert [row.offset for row in alert.rows] == [*range(100, 110), *range(591, 601)]
    assert "500 rows" in alert.explanation
    assert "(quantity 1, 1, 1, 1, 1, …, 1)" in alert.explanation


def test_several_conditions_are_named_by_their_variables() -> None:
    columns = (Column("sensor", INT), Column("price", DOUBLE))
    factory = Factory(
        (Column("sensor", INT), Column("low", DOUBLE)),
        ("sensor",),
        {"A": "", "DOWN": "DOWN.price < PREV(DOWN.price)", "UP": "UP.price > LAST(DOWN.price) AND price > 1"},
        "PATTERN (A DOWN+ UP)",
        columns=columns,
    )
    rows = [(1_000, 0, 7, 5.0), (2_000, 1, 7, 4.0), (3_000, 2, 7, None), (4_000, 3, 7, 6.5)]
    bindings = list(zip(["A", "DOWN", "DOWN", "UP"], rows, strict=True))
    alert = build(factory, Finding((7,), 4_000, (7, 4.0), rows[-1], bindings), columns)
    assert alert.explanation == (
        "sensor 7 at 1970-01-01 00:00:04.000: price 6.5 > LAST(DOWN.price) AND price 6.5 > 1; low 4.0. "
        "A: 1 row at 1970-01-01 00:00:01.000; "
        "DOWN: 2 rows from 1970-01-01 00:00:02.000 to 1970-01-01 00:00:03.000 (price 4.0, NULL); "
        "matched (A DOWN+ UP) because DOWN is DOWN.price < PREV(DOWN.price) "
        "and UP is UP.price > LAST(DOWN.price) AND price > 1."
    )


def test_a_selection_is_explained_by_its_output_and_its_rule() -> None:
    factory = Factory((Column("quantity", INT), Column("at", TIMESTAMP_3)), None, description="WHERE quantity > 3")
    row = sale(0, "10")
    alert = build(factory, Finding((), row[0], (10, row[0]), row))
    assert alert.type == "selection"
    assert alert.key == {}
    assert alert.explanation == (
        "At 2025-07-10 14:06:55.000: quantity 10, at 2025-07-10 14:06:55.000. Rule: WHERE quantity > 3."
    )


def test_a_factory_that_tells_nothing_is_enough() -> None:
    row = sale(0, "10")
    factory = Factory((Column("n", BIGINT),), None)
    assert build(factory, Finding((), row[0], (None,), row)).explanation == "At 2025-07-10 14:06:55.000: n NULL."


def test_hostile_text_cannot_break_the_sentence() -> None:
    factory = sales_factory(measures={})
    finding = sales_finding()
    finding.key = ("\x1b[31mred\n\u202eevil" + "x" * 500,)
    text = build(factory, finding).explanation
    assert text.isprintable()
    assert "x" * 100 not in text


def test_severity_and_score_come_from_the_output() -> None:
    columns = (Column("sev", STRING),)
    factory = Factory((Column("Severity", STRING), Column("risk_score", DataType(Kind.DECIMAL, 3, 2))), None)
    row = (0, 0, "x")
    alert = build(factory, Finding((), 0, ("HIGH", Decimal("0.25")), row), columns)
    assert (alert.severity, alert.score) == ("high", 0.25)
    alert = build(factory, Finding((), 0, (None, Decimal("0.95")), row), columns)
    assert (alert.severity, alert.score) == ("critical", 0.95)
    alert = build(factory, Finding((), 0, ("urgent", Decimal("7")), row), columns)
    assert (alert.severity, alert.score) == ("medium", 7.0)


@pytest.mark.parametrize("text", ["a <", "x > 3 -- remark"])
def test_a_condition_that_cannot_be_read_alone_is_shown_as_it_is(text: str) -> None:
    alert = build(sales_factory(definitions={"TYPICAL_SALE": "", "UNUSUAL_SALE": text}), sales_finding())
    assert f"because {text}" in alert.explanation


def test_an_alert_of_a_join_tells_both_rows_under_the_names_of_their_tables() -> None:
    options = "WITH ('connector' = 'kafka', 'topic' = '{}', 'format' = 'json')"
    columns = "(id INT, k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)"
    tables = "".join(f"CREATE TABLE {name} {columns} {options.format(name)};" for name in ("o", "p"))
    near = "x.k = y.k AND y.ts BETWEEN x.ts AND x.ts + INTERVAL '5' SECOND"
    job = bind_job(f"{tables} SELECT x.id, y.id AS pay FROM o AS x LEFT JOIN p AS y ON {near}", name="j")
    (plan,) = job.plans
    (query,) = plan.queries
    join, _ = query.factory.create_over(plan.layouts)
    rows = [(1_000, 1, 7, "a", 2, 30), (9_000, 2, 8, "a", 2, 31)]
    found = join.step([Flow(rows, 5_000), Flow([(2_000, 3, 70, "a", 1, 40)], 5_000)])
    found += join.step([Flow((), MAX_WATERMARK), Flow((), MAX_WATERMARK)])
    builder = AlertBuilder(job, plan, query)
    alerts = [builder.build(finding, partition=0, offset=1, detected_ms=0) for finding in found]
    told = [[(row.variable, row.offset, row.values) for row in alert.rows] for alert in alerts]
    assert told == [
        [("x", 30, {"id": 7, "k": "a"}), ("y", 40, {"id": 70, "k": "a"})],
        [("x", 31, {"id": 8, "k": "a"})],
    ]
    assert alerts[0].explanation.endswith(
        "id 7, pay 70. Rule: interval join, left, by k, ts0 from ts to ts + 5 seconds."
    )
