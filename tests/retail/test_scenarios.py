"""The original's thirteen unit scenarios, and the five of its README."""

from __future__ import annotations

import json
from typing import Any

import pytest
from retail_pack import JOBS, ORIGINAL, TOPICS, bound_job, encoded, rows_of, run_job, text_of

from anomaly_app.jobs.binder import bind_job
from anomaly_app.plan.explain import explain_text

T = 1_750_000_000_000
MINUTE = 60_000


def pos(kind: str, transaction: str, amount: float, at: int, **more: Any) -> dict[str, Any]:
    value = {
        "transactionId": transaction, "storeId": "store-1", "cashierId": "ann", "sku": "12345", "amount": amount,
        "eventType": kind, "eventTime": T + at,
    }  # fmt: skip
    return {"topic": "pos-events", "value": value | more}


def gate(at: int, gate_id: str = "Gate-7", kind: str = "GATE", **more: Any) -> dict[str, Any]:
    value = {
        "eventId": f"e{at}", "storeId": "store-1", "eventTime": T + at, "eventType": kind,
        "eventData": {"gateId": gate_id, "alarm": True},
    }  # fmt: skip
    return {"topic": "security-events", "value": value | more}


def count(quantity: int, at: int) -> dict[str, Any]:
    value = {"storeId": "store-1", "managerId": "mia", "sku": "12345", "countedQty": quantity, "eventTime": T + at}
    return {"topic": "inventory-counts", "value": value}


def shift(begin: int, end: int, **more: Any) -> dict[str, Any]:
    value = {
        "employeeId": "ann", "storeId": "store-1", "shiftStart": T + begin, "shiftEnd": T + end, "role": "cashier"
    }  # fmt: skip
    return {"topic": "staff-shifts", "value": value | more}


def sold(number: int, at: int = 0) -> list[dict[str, Any]]:
    return [pos("SALE", f"s{at}-{n}", 9.99, at + n * 1_000) for n in range(number)]


def refunds(number: int, amount: float = 120, apart: int = 1_000) -> list[dict[str, Any]]:
    """Sales, and their refunds behind them."""
    sales = [pos("SALE", f"r{n}", amount, n) for n in range(number)]
    return sales + [pos("REFUND", f"r{n}", amount, 10_000 + n * apart) for n in range(number)]


def messages(job: str, *events: Any, **parameters: str) -> list[str]:
    return [alert["message"] for alert in run_job(job, events, parameters)[0]]


# --- gates -----------------------------------------------------------------------------------------------


def test_01_a_low_sale_and_a_gate_tell_nothing() -> None:
    assert messages("gates", pos("SALE", "t1", 50, 0), gate(10_000)) == []


def test_02_a_high_sale_and_a_gate_are_told() -> None:
    (alert,), _ = run_job("gates", [pos("SALE", "t1", 250, 0), gate(10_000)])
    assert alert["type"] == "SECURITY_CORRELATION"
    assert (alert["storeId"], alert["employId"], alert["riskScore"]) == ("store-1", "ann", 0.85)
    assert alert["message"] == "gate_correlation saleTxn=t1 gateId=Gate-7"
    assert alert["alertTime"] == "2025-06-15T15:06:50.000Z"
    assert len(alert["alertId"]) == 32


def test_03_a_gate_outside_of_the_window_tells_nothing() -> None:
    original = {"retail.gate.window": "5 min"}
    assert messages("gates", pos("SALE", "t1", 250, 0), gate(5 * MINUTE + 1), **original) == []
    assert len(messages("gates", pos("SALE", "t1", 250, 0), gate(5 * MINUTE), **original)) == 1


# --- shrinkage -------------------------------------------------------------------------------------------


def test_04_shrinkage_below_the_threshold_tells_nothing() -> None:
    assert messages("shrinkage", *sold(4), count(0, 60_000)) == []


def test_05_shrinkage_at_the_threshold_is_told() -> None:
    (alert,), _ = run_job("shrinkage", [*sold(5), count(0, 60_000)])
    assert (alert["type"], alert["employId"], alert["riskScore"]) == ("SHRINKAGE", "mia", 1.0)
    assert alert["message"] == "shrinkage sku=12345 sales=5 inventoryCounted=0 diff=5"


def test_06_a_count_begins_anew() -> None:
    events = [*sold(5), count(0, 60_000), *sold(4, 70_000), count(0, 120_000), *sold(6, 130_000), count(1, 200_000)]
    assert messages("shrinkage", *events) == [
        "shrinkage sku=12345 sales=5 inventoryCounted=0 diff=5",
        "shrinkage sku=12345 sales=6 inventoryCounted=1 diff=5",
    ]


# --- refunds ---------------------------------------------------------------------------------------------


def test_07_a_refund_without_sale_is_told() -> None:
    (alert,), _ = run_job("refunds", [pos("REFUND", "t9", 20, 0)])
    assert (alert["type"], alert["riskScore"]) == ("REFUND_PATTERN", 1.0)
    assert alert["message"] == "refund_without_sale: transaction t9"


def test_08_a_refund_of_a_sale_tells_nothing() -> None:
    assert messages("refunds", pos("SALE", "t1", 80, 0), pos("REFUND", "t1", 80, 60_000)) == []


def test_09_three_refunds_are_a_burst() -> None:
    (alert,), _ = run_job("refunds", refunds(3, 250))
    assert (alert["message"], alert["riskScore"]) == ("refund_burst: 3 refunds >= 100.00 in 600000 ms", 1.0)
    assert messages("refunds", *refunds(2, 250)) == []


def test_10_a_shift_is_known_by_its_time() -> None:
    inside, _ = run_job("refunds", [shift(0, MINUTE), *refunds(3)])
    outside, _ = run_job("refunds", [shift(0, 11_000), *refunds(3)])
    assert [one[0]["riskScore"] for one in (inside, outside)] == pytest.approx([0.88, 1.0])


def test_11_without_a_shift_nobody_is_outside_of_one() -> None:
    (alert,), _ = run_job("refunds", refunds(3))
    assert alert["riskScore"] == pytest.approx(0.88)


# --- serialisation and graph -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "event"),
    [
        ("refunds", pos("SALE", "ü'1", 19.49, 0)), ("refunds", shift(0, MINUTE)), ("gates", gate(0)),
        ("shrinkage", count(7, 0)),
    ],
)  # fmt: skip
def test_12_records_are_read_as_they_are_written(job: str, event: dict[str, Any]) -> None:
    tables = next(one.tables for one in reversed(bound_job(job, ())))
    (number, row), *others = rows_of([event], tables)[0]
    assert others == []
    names = [column.name for column in tables[number].layout.columns]
    read = dict(zip(names, row[2:], strict=True))
    written = json.loads(encoded(event))
    for name, value in written.items():
        assert read[name] == (tuple(value.values()) if isinstance(value, dict) else value)


def test_13_the_plans_have_their_operators() -> None:
    plans = {job: "".join(explain_text(bound.factory) for bound in bound_job(job, ())) for job in JOBS}
    assert "Interval join, left, by storeId, transactionId" in plans["refunds"]
    assert "Over SUM, SUM, COUNT, 600000 ms before, by employee, storeId" in plans["refunds"]
    assert "Match (SALE GATE) by storeId" in plans["gates"]
    assert "Over LAG, all before, by storeId, sku" in plans["shrinkage"]
    for job in JOBS:
        bound = bind_job(text_of(job), name=job)
        assert bound.warnings == ()
        assert {query.sink.topic for plan in bound.plans for query in plan.queries if query.sink} == {"anomaly-alerts"}
        assert {topic for plan in bound.plans for topic in plan.topics.values()} <= set(TOPICS.values()) | {""}


# --- the README's five -----------------------------------------------------------------------------------


def test_readme_six_refunds_in_ten_minutes_are_one_burst() -> None:
    """Its 100 % is 0.88 by its own formula, at the third of 120 each, and 1 from an average of 200."""
    (alert,), _ = run_job("refunds", refunds(6, 120, apart=90_000))
    assert alert["riskScore"] == pytest.approx(0.88)
    (alert,), _ = run_job("refunds", refunds(6, 200, apart=90_000))
    assert alert["riskScore"] == 1.0


def test_readme_a_refund_without_a_matching_sale_is_told_at_once() -> None:
    """No event behind it is needed but one that moves time past it."""
    events = [pos("REFUND", "t9", 20, 0), pos("SALE", "t10", 20, 5_001)]
    (alert,), _ = run_job("refunds", events, flushed=False)
    assert alert["message"] == "refund_without_sale: transaction t9"


@pytest.mark.parametrize(("count", "told"), [("1", "1 refunds"), ("1.5", "2 refunds"), ("2.5", "3 refunds")])
def test_a_burst_is_told_by_the_refund_that_reaches_any_count(count: str, told: str) -> None:
    alerts, _ = run_job("refunds", refunds(4), {"retail.refund.count": count})
    assert [alert["message"].partition(" >=")[0] for alert in alerts] == [f"refund_burst: {told}"]


def test_readme_outside_of_the_shift_is_a_fifth_more() -> None:
    (within,), _ = run_job("refunds", [shift(0, 60 * MINUTE), *refunds(3, 100)])
    (outside,), _ = run_job("refunds", [shift(0, 5_000), *refunds(3, 100)])
    assert outside["riskScore"] - within["riskScore"] == pytest.approx(0.15)  # 0.85 + 0.2 is capped
    assert outside["riskScore"] == 1.0


def test_readme_thirty_sold_and_twenty_counted() -> None:
    (alert,), _ = run_job("shrinkage", [*sold(30), count(20, 60_000)])
    assert alert["message"] == "shrinkage sku=12345 sales=30 inventoryCounted=20 diff=10"
    assert alert["riskScore"] == 1.0


def test_readme_a_television_and_gate_7() -> None:
    sale = pos("SALE", "TX123", 500, 0)
    assert messages("gates", sale, gate(2 * MINUTE)) == ["gate_correlation saleTxn=TX123 gateId=Gate-7"]
    assert messages("gates", sale, gate(2 * MINUTE + 1)) == []
    assert messages("gates", sale) == []


# --- options ---------------------------------------------------------------------------------------------


def test_options_for_the_behaviour_of_the_original() -> None:
    door = gate(10_000, kind="DOOR_OPEN", eventData={"gateId": "door-1", "alarm": False})
    sale = pos("SALE", "t1", 250, 0)
    original = {name: value for name, value in ORIGINAL.items() if ".gate." in name}
    assert messages("gates", sale, door) == []
    assert messages("gates", sale, door, **original) == ["gate_correlation saleTxn=t1 gateId=door-1"]
    other = [pos("SALE", "t1", 80, 0), pos("REFUND", "t1", 80, 60_000, cashierId="bob")]
    assert messages("refunds", *other) == []
    assert messages("refunds", *other, **{"retail.refund.same_cashier": "TRUE"}) != []


def test_a_gate_may_count_only_with_its_alarm() -> None:
    sale, quiet = pos("SALE", "t1", 250, 0), gate(10_000, eventData={"gateId": "g", "alarm": False})
    assert len(messages("gates", sale, quiet)) == 1
    assert messages("gates", sale, quiet, **{"retail.gate.alarm_only": "TRUE"}) == []


def test_each_sale_keeps_its_own_time_and_is_told_once() -> None:
    late_second = [pos("SALE", "t1", 500, 0), pos("SALE", "t2", 300, 100_000), gate(200_000), gate(201_000)]
    assert messages("gates", *late_second) == ["gate_correlation saleTxn=t2 gateId=Gate-7"]


def test_a_burst_may_be_told_again_when_it_has_been_over() -> None:
    again = [pos("REFUND", f"q{n}", 150, 3_600_000 + n * 1_000) for n in range(3)]
    sales = [pos("SALE", f"q{n}", 150, 3_500_000 + n) for n in range(3)]
    assert len(messages("refunds", *refunds(5, 150), *sales, *again)) == 2
