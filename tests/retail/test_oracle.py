"""The pack against a second implementation of its rules: disorder, repeats, late rows, equal times."""

from __future__ import annotations

from typing import Any

import pytest
import retail_oracle
from hypothesis import HealthCheck, given, settings, strategies as st
from retail_oracle import Rules
from retail_pack import ORIGINAL, run_pack

START = 1_750_000_000_000
STORES, CASHIERS, SKUS = ("s1", "s1", "s1", "s2"), ("ann", "ann", "ann", "bob"), ("tea", "tea", "tea", "tv")
SECOND = 1_000

Drawn = tuple[str, dict[str, Any], int, int]

stores, cashiers = st.sampled_from(STORES), st.sampled_from(CASHIERS)
ORIGINAL_RULES = Rules(
    same_cashier=True, shift_any_store=True, shift_last_only=True, gate_window_ms=300_000, gate_any_event=True
)


def _receipt(kinds: tuple[str, ...], amounts: tuple[float, ...]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    fields = st.fixed_dictionaries(
        {
            "transactionId": st.sampled_from([f"t{number}" for number in range(4)]),
            "storeId": stores, "cashierId": cashiers, "sku": st.sampled_from(SKUS),
            "amount": st.sampled_from(amounts), "eventType": st.sampled_from(kinds),
        }
    )  # fmt: skip
    return st.tuples(st.just("pos-events"), fields)


sales = _receipt(("SALE", "sale"), (9.99, 200.0, 500.0, 199.99, 300.0, -300.0))
refunds = _receipt(("REFUND", "Refund"), (100.0, 150.0, 99.99, 130.0, 260.0, -50.0))
others = _receipt(("VOID", "SALE "), (900.0,))
shifts = st.tuples(
    st.just("staff-shifts"),
    st.fixed_dictionaries(
        {
            "employeeId": cashiers, "storeId": stores,
            "length": st.sampled_from([-60, 0, 60, 300, 600, 3_600]), "role": st.just("cashier"),
        }
    ),
)  # fmt: skip
gates = st.tuples(
    st.just("security-events"),
    st.fixed_dictionaries(
        {
            "storeId": stores, "eventType": st.sampled_from(["GATE", "gate", "DOOR_OPEN"]),
            "eventData": st.sampled_from([None, {"gateId": "g1"}, {"gateId": "g2", "alarm": True}, {"alarm": False}]),
        }
    ),
)  # fmt: skip
counts = st.tuples(
    st.just("inventory-counts"),
    st.fixed_dictionaries(
        {
            "storeId": stores, "managerId": st.just("mia"), "sku": st.sampled_from(SKUS),
            "countedQty": st.sampled_from([0, 0, 1, -1, -4, -5]),
        }
    ),
)  # fmt: skip
# Steps that add up to windows and days, to the millisecond and one beside it.
short = [0, 0, 1, 1_000, 5_000, 5_001, 30_000, 60_000, 120_000, 120_001]
long = [0, 1, 60_000, 300_000, 300_000, 300_000, 300_001, 600_000, 600_001]
days = [0, 1, 4_999, 43_200_000, 86_400_000, 86_399_999, 86_400_001]
seldom = [0] * 60 + [1_000, 4_999, 5_000, 5_001, 30_000, 700_000]
often = [0, 0, 1_000, 4_999, 5_000, 5_001, 30_000, 700_000]
edges = [0, 0, 5_000, 5_001]
FOCUS = {
    "unmatched": (st.one_of(sales, refunds, shifts), days, seldom),
    "bursts": (st.one_of(refunds, refunds, refunds, shifts), long, seldom),
    "late bursts": (st.one_of(refunds, refunds, shifts), [0, 1_000, 60_000], often),
    "gates": (st.one_of(sales, gates), short, seldom),
    "gates at the edge": (st.one_of(sales, gates), [0, 5_000], edges),
    "shrinkage": (st.one_of(sales, sales, sales, sales, counts), short, often),
    "all": (st.one_of(sales, sales, refunds, refunds, others, shifts, gates, counts), long, often),
}


def streams(focus: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Streams of the events that a rule is about, for a few keys."""
    events, steps, delays = FOCUS[focus]
    drawn = st.lists(st.tuples(events, st.sampled_from(steps), st.sampled_from(delays)), min_size=30, max_size=60)
    return st.builds(_made, drawn, st.lists(st.integers(0, 29), max_size=3))


def _made(drawn: list[tuple[tuple[str, dict[str, Any]], int, int]], repeats: list[int]) -> list[dict[str, Any]]:
    """Events in order of arrival: each step moves the clock, and a delayed event is of a time before it."""
    events: list[dict[str, Any]] = []
    now = START
    for (topic, fields), step, delay in drawn:
        now += step
        value, time = dict(fields), now - delay
        if topic == "staff-shifts":
            value |= {"shiftStart": time, "shiftEnd": time + value.pop("length") * SECOND}
        else:
            value["eventTime"] = time
        events.append({"topic": topic, "value": value})
    for place in repeats:
        if place < len(events):
            events.insert(min(len(events), place + 3), events[place])
    return events


def _told(events: list[dict[str, Any]], parameters: dict[str, str] | None) -> list[tuple[Any, ...]]:
    names = ("type", "storeId", "employId", "message", "riskScore", "event")
    return [tuple(alert[name] for name in names) for alert in run_pack(events, parameters)]


def _same(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> None:
    def rounded(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return [(*one[:4], round(one[4], 9), one[5]) for one in found]

    assert rounded(ours) == rounded(theirs)


@pytest.mark.parametrize("focus", FOCUS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(data=st.data())
def test_the_pack_tells_what_its_rules_say(focus: str, data: st.DataObject) -> None:
    events = data.draw(streams(focus))
    _same(_told(events, None), retail_oracle.alerts(events, Rules()))


@pytest.mark.parametrize("focus", FOCUS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(data=st.data())
def test_and_with_the_options_for_the_original(focus: str, data: st.DataObject) -> None:
    events = data.draw(streams(focus))
    _same(_told(events, ORIGINAL), retail_oracle.alerts(events, ORIGINAL_RULES))


@pytest.mark.parametrize("focus", FOCUS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(data=st.data())
def test_and_with_other_thresholds(focus: str, data: st.DataObject) -> None:
    parameters = {
        "retail.refund.amount": "130", "retail.refund.count": "2", "retail.refund.window": "5 min",
        "retail.sale.kept": "12 h", "retail.gate.alarm_only": "TRUE", "retail.shrinkage.units": "2",
    }  # fmt: skip
    rules = Rules(
        refund_amount=130, refund_count=2, refund_window_ms=300_000, sale_kept_ms=43_200_000, gate_alarm_only=True,
        shrinkage_units=2,
    )  # fmt: skip
    events = data.draw(streams(focus))
    _same(_told(events, parameters), retail_oracle.alerts(events, rules))
