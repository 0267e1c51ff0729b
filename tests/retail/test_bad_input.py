"""What is wrong in the topics costs itself: counted, dead-lettered or defined, and never a wrong alert."""

from __future__ import annotations

import json
from typing import Any

import pytest
from retail_pack import run_job

T = 1_750_000_000_000
HOUR = 3_600_000
BURST = "refund_burst: 3 refunds >= 100.00 in 600000 ms"


def pos(kind: str, transaction: str, amount: Any, at: int, **more: Any) -> dict[str, Any]:
    value = {
        "transactionId": transaction, "storeId": "s1", "cashierId": "ann", "sku": "tea", "amount": amount,
        "eventType": kind, "eventTime": T + at,
    }  # fmt: skip
    return {"topic": "pos-events", "value": value | more}


def event(topic: str, at: int, **fields: Any) -> dict[str, Any]:
    return {"topic": topic, "value": {"storeId": "s1", "eventTime": T + at, **fields}}


def told(job: str, *events: Any) -> tuple[list[str], dict[str, Any]]:
    alerts, dropped = run_job(job, events)
    return [alert["message"] for alert in alerts], dropped


def returned(number: int, amount: Any, at: int) -> list[dict[str, Any]]:
    """A sale, and its refund a minute later."""
    return [pos("SALE", f"t{number}", 50, at), pos("REFUND", f"t{number}", amount, at + 60_000)]


@pytest.mark.parametrize("amount", ["many", "", [1], {"value": 3}, True])
def test_an_amount_that_is_none_costs_its_record(amount: Any) -> None:
    messages, dropped = told("gates", pos("SALE", "t1", amount, 0), event("security-events", 1_000, eventType="GATE"))
    assert messages == []
    assert len(dropped["rejected"]) == 1
    assert "amount" in dropped["rejected"][0]


def test_a_bare_nan_is_no_json() -> None:
    line = json.dumps(pos("SALE", "t1", float("nan"), 0)["value"])
    assert '"amount": NaN' in line
    sale = {"topic": "pos-events", "value": line}
    messages, dropped = told("gates", sale, event("security-events", 1_000, eventType="GATE"))
    assert (messages, len(dropped["rejected"])) == ([], 1)


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity"])
def test_amounts_that_are_no_number_count_for_nothing(amount: str) -> None:
    sale = pos("SALE", "t1", amount, 0)
    assert told("gates", sale, event("security-events", 1_000, eventType="GATE"))[0] == []
    rows = [row for number in range(3) for row in returned(number, 150, number * 1_000)]
    at = 1_500
    assert told("refunds", *rows[:2], *returned(7, amount, at), *rows[2:])[0] == [BURST]
    (alert,), _ = run_job("refunds", [*rows[:2], *returned(7, amount, at), *rows[2:]])
    assert alert["riskScore"] == pytest.approx(0.7 + 0.3 * 150 / 200)


def test_a_negative_amount_is_low_and_an_amount_in_quotes_is_read() -> None:
    assert told("refunds", *(row for number in range(4) for row in returned(number, -150, number * 1_000)))[0] == []
    assert told("refunds", *(row for n in range(3) for row in returned(n, "150.0", n * 1_000)))[0] == [BURST]


def test_a_missing_amount_is_nothing() -> None:
    assert told("refunds", *(row for number in range(3) for row in returned(number, None, number * 1_000)))[0] == []
    assert told("gates", pos("SALE", "t1", None, 0), event("security-events", 1_000, eventType="GATE"))[0] == []


@pytest.mark.parametrize("time", [None, "soon", {}])
def test_a_record_without_a_time_costs_itself(time: Any) -> None:
    messages, dropped = told("refunds", pos("REFUND", "t1", 50, 0, eventTime=time))
    assert (messages, len(dropped["rejected"])) == ([], 1)


OTHER = {"employeeId": "bob", "storeId": "s1"}
"""Whose shifts move the time of the shifts."""


@pytest.mark.parametrize("kind", ["VOID", "RETURN", "SALE ", "", None])
def test_other_types_of_receipts_count_for_nothing(kind: Any) -> None:
    assert told("refunds", pos(kind, "t1", 500, 0))[0] == []
    assert told("gates", pos(kind, "t1", 500, 0), event("security-events", 1_000, eventType="GATE"))[0] == []
    counted = event("inventory-counts", 60_000, sku="tea", managerId="mia", countedQty=0)
    assert told("shrinkage", *(pos(kind, f"t{n}", 5, n) for n in range(9)), counted)[0] == []


def test_a_refund_before_its_sale_is_one_without() -> None:
    before = [pos("REFUND", "t1", 50, 0), pos("SALE", "t1", 50, 1), pos("REFUND", "t1", 50, 2)]
    assert told("refunds", *before)[0] == ["refund_without_sale: transaction t1"]
    # What only came in this order is not: times count.
    late_sale = [pos("REFUND", "t1", 50, 1_000), pos("SALE", "t1", 50, 0)]
    assert told("refunds", *late_sale)[0] == []


@pytest.mark.parametrize(
    ("shifts", "outside"),
    [
        ([(0, HOUR)], False),
        ([(0, 1_000)], True),
        ([], False),
        ([(0, HOUR), (10_000, 20_000)], False),
        ([(0, 1_000), (30_000, HOUR)], False),
        ([(50_000, 10_000)], True),
        ([(HOUR, 2 * HOUR)], False),
        ([(-8 * 24 * HOUR, -7 * 24 * HOUR)], False),
    ],
)
def test_shifts_that_overlap_end_before_they_begin_or_are_to_come(shifts: list[tuple[int, int]], outside: bool) -> None:
    rows = [
        {
            "topic": "staff-shifts",
            "value": {"employeeId": "ann", "storeId": "s1", "shiftStart": T + a, "shiftEnd": T + b},
        }
        for a, b in shifts
    ]
    rows += [row for number in range(3) for row in returned(number, 100, 100_000 + number * 1_000)]
    (alert,), _ = run_job("refunds", rows)
    assert alert["riskScore"] == pytest.approx(1.0 if outside else 0.85)


def test_a_shift_that_is_told_late_counts_from_then_on() -> None:
    """A minute after it began, and behind a refund: it is no reason to take the cashier for absent all day."""

    def shift(begin: int, end: int) -> dict[str, Any]:
        times = {"shiftStart": T + begin, "shiftEnd": T + end}
        return {"topic": "staff-shifts", "value": {"employeeId": "ann", "storeId": "s1", **times}}

    def refund(number: int, at: int) -> list[Any]:
        other = {"topic": "staff-shifts", "value": OTHER | {"shiftStart": T + at, "shiftEnd": T + HOUR}}
        return [pos("SALE", f"t{number}", 50, at), pos("REFUND", f"t{number}", 100, at), other]

    before = [shift(-HOUR, -1_000), *refund(1, 60_000), *refund(2, 70_000)]
    third, later = refund(3, 80_000), [*refund(4, 90_000), *refund(5, 100_000)]
    alerts, _ = run_job("refunds", [*before, *third, *later, shift(50_000, HOUR)])
    assert [alert["riskScore"] for alert in alerts] == [pytest.approx(1.0)], "it was not known when that was told"
    alerts, counted = run_job("refunds", [*before, shift(50_000, HOUR), *third, *later])
    assert [alert["riskScore"] for alert in alerts] == [pytest.approx(0.85)]
    assert counted["late"] == []
    # Behind a later one of the same cashier it is late, and counted.
    alerts, counted = run_job("refunds", [shift(50_000, HOUR), *before[1:], *third, shift(40_000, 55_000), *later])
    assert [alert["riskScore"] for alert in alerts] == [pytest.approx(0.85)]
    assert len(counted["late"]) == 1


@pytest.mark.parametrize("data", [None, {}, {"alarm": True}, {"gateId": None}])
def test_missing_gate_data(data: Any) -> None:
    gate = event("security-events", 1_000, eventType="GATE", eventData=data)
    assert told("gates", pos("SALE", "t1", 500, 0), gate)[0] == ["gate_correlation saleTxn=t1 gateId=null"]
    assert told("gates", pos("SALE", "t1", 50, 0), gate)[0] == []


def test_a_count_without_a_quantity_is_one_of_nothing() -> None:
    sales = [pos("SALE", f"t{n}", 5, n) for n in range(6)]
    counted = event("inventory-counts", 60_000, sku="tea", managerId=None)
    assert told("shrinkage", *sales, counted)[0] == ["shrinkage sku=tea sales=6 inventoryCounted=0 diff=6"]


def test_a_clock_an_hour_slow_is_late_and_tells_nothing_wrong() -> None:
    gates = [event("security-events", at, eventType="GATE") for at in (HOUR, HOUR + 20_000)]
    on_time = [pos("SALE", f"n{n}", 5, HOUR + n * 10_000) for n in range(3)]
    slow = pos("SALE", "t1", 500, 0)
    messages, dropped = told("gates", *gates, *on_time, slow, event("security-events", 1_000, eventType="GATE"))
    assert messages == []
    assert len(dropped["late"]) == 2
    refund = pos("REFUND", "t1", 500, 60_000)
    assert told("refunds", *on_time, slow, refund)[0] == [], "its sale is as late as it is"


def test_a_clock_an_hour_fast_makes_the_others_late_and_tells_nothing_wrong() -> None:
    fast = pos("SALE", "t1", 5, HOUR)
    rows = [row for number in range(3) for row in returned(number, 150, number * 1_000)]
    shift = {
        "topic": "staff-shifts",
        "value": {"employeeId": "x", "storeId": "s1", "shiftStart": T + HOUR, "shiftEnd": T},
    }
    messages, dropped = told("refunds", shift, fast, *rows)
    assert messages == []
    assert dropped["late"] != [], "the refunds are counted as late for the bursts"


def test_a_repeated_record_counts_twice_and_its_alert_has_the_same_id() -> None:
    refund = pos("REFUND", "t1", 50, 0)
    alerts, _ = run_job("refunds", [refund, refund])
    assert len(alerts) == 2
    assert len({alert["alertId"] for alert in alerts}) == 1
