"""The rules of the retail pack once more, in plain Python: what docs/tutorial-retail.md says, without the engine.

All that the pack can be asked for by parameters is in :class:`Rules`. Events are as in the golden cases; the rows of a
topic are late as the page says.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DELAY_MS = 5_000
NEVER = -(10**18)


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds and options, as in the job files."""

    refund_amount: float = 100
    refund_count: int = 3
    refund_window_ms: int = 600_000
    sale_kept_ms: int = 86_400_000
    same_cashier: bool = False
    shift_any_store: bool = False
    shift_last_only: bool = False
    shift_kept_ms: int = 7 * 86_400_000
    gate_amount: float = 200
    gate_window_ms: int = 120_000
    gate_any_event: bool = False
    gate_alarm_only: bool = False
    shrinkage_units: int = 5


def time_of(event: Mapping[str, Any]) -> int:
    """Event time in ms."""
    return int(event["value"]["shiftStart" if event["topic"] == "staff-shifts" else "eventTime"])


def alerts(events: Sequence[Mapping[str, Any]], rules: Rules) -> list[tuple[Any, ...]]:
    """Type, store, employee, message, risk and number of the causing event of each alert, by that number."""
    found = [*_unmatched(events, rules), *_bursts(events, rules), *_gates(events, rules), *_shrinkage(events, rules)]
    order = ("REFUND_PATTERN", "SECURITY_CORRELATION", "SHRINKAGE")
    return sorted(found, key=lambda one: (one[5], order.index(one[0]), "refund_burst" in one[3]))


class _Clock:
    """How far some topics have come together, row by row."""

    def __init__(self, *topics: str) -> None:
        self.times = dict.fromkeys(topics, NEVER)

    @property
    def now(self) -> int:
        return min(self.times.values())

    def note(self, event: Mapping[str, Any]) -> None:
        topic = event["topic"]
        if topic in self.times:
            self.times[topic] = max(self.times[topic], time_of(event) - DELAY_MS)


def _kind(event: Mapping[str, Any]) -> str:
    return str(event["value"].get("eventType")).upper() if event["topic"] == "pos-events" else ""


def _unmatched(events: Sequence[Mapping[str, Any]], rules: Rules) -> list[tuple[Any, ...]]:
    clock, found = _Clock("pos-events"), []
    sales: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    open_refunds: dict[int, bool] = {}

    def tell(number: int) -> None:
        value = events[number]["value"]
        message = f"refund_without_sale: transaction {value['transactionId']}"
        found.append(("REFUND_PATTERN", value["storeId"], value["cashierId"], message, 1.0, number))

    def fits(refund: int, time: int, cashier: str) -> bool:
        at = time_of(events[refund])
        ours = not rules.same_cashier or events[refund]["value"]["cashierId"] == cashier
        return ours and at - rules.sale_kept_ms <= time <= at

    for number, event in enumerate(events):
        kind, value, now = _kind(event), event["value"], clock.now
        if kind in ("SALE", "REFUND"):
            key, time = (value["storeId"], value["transactionId"]), time_of(event)
            sales[key] = [one for one in sales[key] if now <= one[0] + rules.sale_kept_ms]
            if kind == "SALE":
                for refund in [r for r in open_refunds if _numbered(events[r]) == key]:
                    if fits(refund, time, value["cashierId"]):
                        del open_refunds[refund]
                if now < time + rules.sale_kept_ms:
                    sales[key].append((time, value["cashierId"]))
            elif not any(fits(number, *sale) for sale in sales[key]):
                if now < time:
                    open_refunds[number] = True
                else:
                    tell(number)
        clock.note(event)
        for refund in [r for r in open_refunds if time_of(events[r]) < clock.now]:
            del open_refunds[refund]
            tell(refund)
    for refund in open_refunds:
        tell(refund)
    return found


def _numbered(event: Mapping[str, Any]) -> tuple[str, str]:
    return event["value"]["storeId"], event["value"]["transactionId"]


def _bursts(events: Sequence[Mapping[str, Any]], rules: Rules) -> list[tuple[Any, ...]]:
    clock, found = _Clock("pos-events", "staff-shifts"), []
    waiting: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []
    shifts: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    refunds: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)

    def duty(event: Mapping[str, Any]) -> tuple[str, str]:
        value = event["value"]
        employee = value["employeeId"] if event["topic"] == "staff-shifts" else value["cashierId"]
        return employee, "" if rules.shift_any_store else value["storeId"]

    def is_outside(refund: Mapping[str, Any]) -> bool:
        time = time_of(refund)
        begun = [(at, end) for at, end in shifts[duty(refund)] if at <= time]
        if not begun or begun[-1][0] < time - rules.shift_kept_ms:
            return False
        counting = [(at, end) for at, end in begun if begun[-1][0] - rules.shift_kept_ms <= at]
        return (max(counting)[1] if rules.shift_last_only else max(end for _, end in counting)) < time

    def release(number: int) -> None:
        event, time = events[number], time_of(events[number])
        value = event["value"]
        own = refunds[value["storeId"], value["cashierId"]]
        own.append((time, float(value["amount"])))
        recent = [amount for at, amount in own if time - rules.refund_window_ms <= at]
        highs = sum(amount >= rules.refund_amount for amount in recent)
        if float(value["amount"]) < rules.refund_amount or highs != rules.refund_count:
            return
        average = sum(recent) / len(recent)
        risk = min(1, 0.7 * highs / rules.refund_count + 0.3 * min(1, average / (2 * rules.refund_amount)))
        if is_outside(event):
            risk = min(1, risk + 0.2)
        message = f"refund_burst: {highs} refunds >= {rules.refund_amount:.2f} in {rules.refund_window_ms} ms"
        found.append(("REFUND_PATTERN", value["storeId"], value["cashierId"], message, risk, number))

    for number, event in enumerate([*events, None]):
        known, before = clock.times["staff-shifts"], clock.now
        if event is None:
            clock.times = dict.fromkeys(clock.times, 10**18)
        else:
            time = time_of(event)
            if event["topic"] == "staff-shifts":
                # One that is told late counts from then on, unless a later one of the cashier was known before it.
                earlier = shifts[duty(event)]
                if time > known or not earlier or time > earlier[-1][0]:
                    insort(told, (time, number))
            elif _kind(event) == "REFUND" and time > before:
                insort(waiting, (time, number))
            clock.note(event)
        if clock.times["staff-shifts"] > known:
            while told and told[0][0] <= clock.times["staff-shifts"]:
                at, place = told.pop(0)
                shifts[duty(events[place])].append((at, int(events[place]["value"]["shiftEnd"])))
        while waiting and waiting[0][0] <= clock.now:
            release(waiting.pop(0)[1])
    return found


def _in_order(
    events: Sequence[Mapping[str, Any]], clock: _Clock, wanted: Callable[[Mapping[str, Any]], bool]
) -> list[tuple[int, Mapping[str, Any]]]:
    """Events by time and arrival, without those that come when the topics are past their time."""
    taken = []
    for number, event in enumerate(events):
        if wanted(event) and time_of(event) > clock.now:
            taken.append((number, event))
        clock.note(event)
    return sorted(taken, key=lambda one: (time_of(one[1]), one[0]))


def _gates(events: Sequence[Mapping[str, Any]], rules: Rules) -> list[tuple[Any, ...]]:
    def wanted(event: Mapping[str, Any]) -> bool:
        value = event["value"]
        if event["topic"] != "security-events":
            return _kind(event) == "SALE" and float(value["amount"]) >= rules.gate_amount
        if not rules.gate_any_event and str(value["eventType"]).upper() != "GATE":
            return False
        return not rules.gate_alarm_only or (value.get("eventData") or {}).get("alarm") is True

    found, before = [], {}
    for number, event in _in_order(events, _Clock("pos-events", "security-events"), wanted):
        value = event["value"]
        if event["topic"] == "pos-events":
            before[value["storeId"]] = event
            continue
        sale = before.pop(value["storeId"], None)
        if sale is None or time_of(event) - time_of(sale) > rules.gate_window_ms:
            continue
        gate = (value.get("eventData") or {}).get("gateId")
        message = f"gate_correlation saleTxn={sale['value']['transactionId']} gateId={gate or 'null'}"
        found.append(("SECURITY_CORRELATION", value["storeId"], sale["value"]["cashierId"], message, 0.85, number))
    return found


def _shrinkage(events: Sequence[Mapping[str, Any]], rules: Rules) -> list[tuple[Any, ...]]:
    def wanted(event: Mapping[str, Any]) -> bool:
        return event["topic"] == "inventory-counts" or _kind(event) == "SALE"

    found, sold = [], defaultdict(int)
    for number, event in _in_order(events, _Clock("pos-events", "inventory-counts"), wanted):
        value = event["value"]
        key = value["storeId"], value["sku"]
        if event["topic"] == "pos-events":
            sold[key] += 1
            continue
        sales, counted = sold.pop(key, 0), int(value["countedQty"])
        if sales - counted >= rules.shrinkage_units:
            risk = min(1, (sales - counted) / rules.shrinkage_units)
            message = f"shrinkage sku={value['sku']} sales={sales} inventoryCounted={counted} diff={sales - counted}"
            found.append(("SHRINKAGE", value["storeId"], value["managerId"], message, risk, number))
    return found
