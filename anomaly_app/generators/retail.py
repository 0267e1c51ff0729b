"""A chain of stores: receipts, shifts, gates and counts in step, with incidents that are planted (S5-19, S5-20).

Everything is drawn from one seed and in the order of time, so that the same seed gives the same records whatever their
rate is sent at. Shifts are of the past, as they are when somebody writes them down: their records come behind their
time. Unlike the generator of the original, a sale that is raised to an expensive article is counted as one of that.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from anomaly_app.generators.stream import Generated

POS, SHIFTS, SECURITY, COUNTS = "pos-events", "staff-shifts", "security-events", "inventory-counts"
TOPICS = (POS, SHIFTS, SECURITY, COUNTS)
TABLES = {POS: "pos_events", SHIFTS: "staff_shifts", SECURITY: "security_events", COUNTS: "inventory_counts"}
"""What the job files call the topics."""
RATE = 4.0
"""Sales per second (S5-19)."""

STORES = tuple(f"store-{number:03}" for number in range(1, 6))
CASHIERS, GATES = 6, 5
PRICES = dict(
    zip(
        (f"sku-{number:03}" for number in range(1, 11)),
        (9.99, 19.49, 29.99, 59.0, 199.0, 349.0, 4.99, 12.49, 79.99, 149.0),
        strict=True,
    )
)
EXPENSIVE = ("sku-005", "sku-006")
BUMPED = 0.25
"""Share of the sales of cheap articles that become one of an expensive one."""
BURST_REFUNDS, BURST_LEAST = 4, 150.0
SHIFT_MS, DOOR_MS, COUNT_MS = 5_000, 7_000, 20_000
COUNTED_SKUS = 3
LEFT = 2
"""Counts are off by up to so many, without any reason."""
QUIET_MS = 1_200_000
"""Between two bursts of a cashier: what comes sooner is the same burst."""
_REMEMBERED = 200
"""Sales of a cashier that may still be refunded."""


@dataclass(frozen=True, slots=True)
class Chances:
    """Of what goes wrong, at each sale (S5-19).

    Args:
        refund: a sale is refunded, which is as it should be.
        unmatched: a refund is made up.
        burst: a cashier refunds four sales in a row.
        gate: somebody runs through the gate behind an expensive sale.
        shrinkage: less is counted than there should be.
    """

    refund: float = 0.002
    unmatched: float = 0.0005
    burst: float = 0.002
    gate: float = 0.0005
    shrinkage: float = 0.0005

    def times(self, factor: float) -> Chances:
        """Incidents as many times as likely; refunds that are right stay."""
        return Chances(
            self.refund, self.unmatched * factor, self.burst * factor, self.gate * factor, self.shrinkage * factor
        )


class Incident(NamedTuple):
    """What was planted, as a line of the truth file.

    Args:
        type: of the alerts that should tell it.
        begin: event time of its first record in ms.
        end: and of its last.
        fields: of the alert that are known.
        about: what its message says.
    """

    type: str
    begin: int
    end: int
    fields: dict[str, str]
    about: str

    def line(self) -> dict[str, Any]:
        """As it is written."""
        return {"type": self.type, "from": self.begin, "to": self.end, "fields": self.fields, "about": self.about}


class _Due(NamedTuple):
    at: int
    number: int
    emit: Callable[[int], Iterator[Generated]]


@dataclass(slots=True)
class RetailStream:
    """Records of all four topics.

    Args:
        seed: of everything.
        start_ms: time of the first sale.
        rate: sales per second.
        chances: of incidents.

    Attributes:
        incidents: those planted so far; complete when the records behind their end have been taken.

    Example:
        >>> stream = RetailStream(seed=1, start_ms=0)
        >>> records = stream.records(1_000)
        >>> first = next(records)
        >>> first.topic, first.key, first.timestamp_ms
        ('pos-events', 'tx-1-1', 0)
        >>> sorted({record.topic for record in records})
        ['inventory-counts', 'pos-events', 'security-events', 'staff-shifts']
    """

    seed: int
    start_ms: int
    rate: float = RATE
    chances: Chances = field(default_factory=Chances)
    incidents: list[Incident] = field(default_factory=list)
    _random: Random = field(init=False)
    _due: list[_Due] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _receipts: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _planted: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _sales: dict[tuple[str, str], deque[dict[str, Any]]] = field(default_factory=dict)
    _sold: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    _bursts: dict[tuple[str, str], int] = field(default_factory=dict)
    _missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def records(self, count: int | None = None) -> Iterator[Generated]:
        """Records in the order of their timestamps.

        Args:
            count: how many; None for no end.
        """
        self._plan(self.start_ms, self._sale)
        self._plan(self.start_ms + SHIFT_MS, self._shift)
        self._plan(self.start_ms + DOOR_MS, self._door)
        self._plan(self.start_ms + COUNT_MS, self._counts)
        return itertools.islice(self._all(), count)

    def _all(self) -> Iterator[Generated]:
        while True:
            due = heapq.heappop(self._due)
            yield from due.emit(due.at)

    def _plan(self, at: int, emit: Callable[[int], Iterator[Generated]]) -> None:
        heapq.heappush(self._due, _Due(at, next(self._numbers), emit))

    def _later(self, at: int, record: Generated) -> None:
        self._plan(at, lambda _: iter((record,)))

    def _one_of(self, choices: tuple[str, ...]) -> str:
        return choices[int(self._random.random() * len(choices))]

    def _between(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))

    def _cashier(self, store: str) -> str:
        return f"{store}-cashier-{self._between(1, CASHIERS):02}"

    # --- receipts ---------------------------------------------------------------------------------

    def _sale(self, at: int) -> Iterator[Generated]:
        random = self._random.random
        store = self._one_of(STORES)
        cashier = self._cashier(store)
        sku = self._one_of(tuple(PRICES))
        if PRICES[sku] < PRICES["sku-005"] and random() < BUMPED:
            sku = self._one_of(EXPENSIVE)
        number = next(self._receipts)
        value = self._receipt(f"tx-{self.seed}-{number}", store, cashier, sku, PRICES[sku], "SALE", at)
        self._sales.setdefault((store, cashier), deque(maxlen=_REMEMBERED)).append(value)
        self._sold[store, sku] += 1
        yield _record(POS, value["transactionId"], value, at)
        chances = self.chances
        if random() < chances.refund:
            self._refund(store, cashier, at + self._between(1_000, 30_000))
        if random() < chances.unmatched:
            self._unmatched(store, cashier, at + self._between(1_000, 30_000))
        if random() < chances.burst:
            self._burst(store, cashier, at + self._between(1_000, 10_000))
        if random() < chances.gate:
            self._run(store, cashier, at + self._between(500, 5_000))
        if random() < chances.shrinkage:
            self._missing.add(store)
        self._plan(self.start_ms + int(number * 1_000 / self.rate), self._sale)

    def _receipt(
        self, transaction: str, store: str, cashier: str, sku: str, amount: float, kind: str, at: int
    ) -> dict[str, Any]:
        return {
            "transactionId": transaction, "storeId": store, "cashierId": cashier, "sku": sku, "amount": amount,
            "eventType": kind, "eventTime": at,
        }  # fmt: skip

    def _refund(self, store: str, cashier: str, at: int, least: float = 0.0) -> None:
        """One of the sales of a cashier is given back."""
        sold = self._sales[store, cashier]
        sale = sold[int(self._random.random() * len(sold))]
        amount = max(sale["amount"], least)
        value = self._receipt(sale["transactionId"], store, cashier, sale["sku"], amount, "REFUND", at)
        self._later(at, _record(POS, value["transactionId"], value, at))

    def _unmatched(self, store: str, cashier: str, at: int) -> None:
        transaction, sku = f"rx-{self.seed}-{next(self._planted)}", self._one_of(tuple(PRICES))
        value = self._receipt(transaction, store, cashier, sku, PRICES[sku], "REFUND", at)
        self._later(at, _record(POS, transaction, value, at))
        self._plant("REFUND_PATTERN", at, at, f"refund_without_sale: transaction {transaction}", store, cashier)

    def _burst(self, store: str, cashier: str, at: int) -> None:
        if self._bursts.get((store, cashier), at - QUIET_MS) > at - QUIET_MS:
            return
        begin = at
        for _ in range(BURST_REFUNDS):
            end = at
            self._refund(store, cashier, at, self._between(int(BURST_LEAST), int(BURST_LEAST) + 100))
            at += self._between(2_000, 20_000)
        self._bursts[store, cashier] = end
        self._plant("REFUND_PATTERN", begin, end, "refund_burst", store, cashier)

    def _plant(self, type_: str, begin: int, end: int, about: str, store: str, employee: str = "") -> None:
        fields = {"storeId": store} | ({"employId": employee} if employee else {})
        self.incidents.append(Incident(type_, begin, end, fields, about))

    # --- gates ------------------------------------------------------------------------------------

    def _run(self, store: str, cashier: str, at: int) -> None:
        """An expensive sale, and right behind it the gate."""
        transaction = f"gx-{self.seed}-{next(self._planted)}"
        value = self._receipt(transaction, store, cashier, "sku-006", PRICES["sku-006"], "SALE", at)
        self._plan(at, lambda now: self._sold_at(value, now))
        gate, passed = f"gate-{self._between(1, GATES)}", at + self._between(1, 400)
        self._later(passed, _security(store, "GATE", gate, True, passed))
        self._plant("SECURITY_CORRELATION", at, passed, f"gateId={gate}", store)

    def _sold_at(self, value: dict[str, Any], at: int) -> Iterator[Generated]:
        self._sold[value["storeId"], value["sku"]] += 1
        yield _record(POS, value["transactionId"], value, at)

    def _door(self, at: int) -> Iterator[Generated]:
        """Doors open all day, some with an alarm."""
        store, alarm = self._one_of(STORES), self._random.random() < 0.1
        yield _security(store, "DOOR_OPEN", f"gate-{self._between(1, GATES)}", alarm, at)
        self._plan(at + DOOR_MS, self._door)

    # --- shifts and counts ------------------------------------------------------------------------

    def _shift(self, at: int) -> Iterator[Generated]:
        store = self._one_of(STORES)
        cashier, begin = self._cashier(store), at - self._between(30_000, 90_000)
        value = {
            "employeeId": cashier, "storeId": store, "shiftStart": begin,
            "shiftEnd": begin + self._between(300_000, 900_000), "role": "cashier",
        }  # fmt: skip
        yield _record(SHIFTS, cashier, value, at)
        self._plan(at + SHIFT_MS, self._shift)

    def _counts(self, at: int) -> Iterator[Generated]:
        for store in STORES:
            skus = self._random.sample(tuple(PRICES), COUNTED_SKUS)
            if store in self._missing:
                most = max(PRICES, key=lambda sku: self._sold[store, sku])
                skus = [most, *(sku for sku in skus if sku != most)][:COUNTED_SKUS]
            for sku in skus:
                yield self._count(store, sku, at)
        self._plan(at + COUNT_MS, self._counts)

    def _count(self, store: str, sku: str, at: int) -> Generated:
        sold = self._sold[store, sku]
        counted = max(0, sold + self._between(-LEFT, LEFT))
        if store in self._missing and sold >= 5:
            self._missing.discard(store)
            counted = max(0, sold - self._between(5, 9))
            self._plant("SHRINKAGE", at, at, f"sku={sku} ", store, f"{store}-manager")
        self._sold[store, sku] = 0
        value = {
            "storeId": store, "managerId": f"{store}-manager", "sku": sku, "countedQty": counted, "eventTime": at
        }  # fmt: skip
        return _record(COUNTS, f"{store}:{sku}", value, at)


def _record(topic: str, key: str, value: dict[str, Any], at: int) -> Generated:
    return Generated(topic, key, value, at)


def _security(store: str, kind: str, gate: str, alarm: bool, at: int) -> Generated:
    event = f"ev-{store}-{gate}-{at}"
    data = {"gateId": gate, "alarm": alarm}
    value = {"eventId": event, "storeId": store, "eventTime": at, "eventType": kind, "eventData": data}
    return _record(SECURITY, event, value, at)
