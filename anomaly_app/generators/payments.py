"""The streams of the fraud tutorial: card payments and, for most of them, the device that made them (S4-01 to S4-06).

The fields are those of the IEEE-CIS data set, whose records cannot be given away: cardholders with habits of their own,
and frauds of five kinds planted among their payments. What the fields beginning with C, D, M and V mean is not told by
their makers; here C are counts of what a card did lately, D are days since its earlier payments, M whether names and
addresses agree, and V follow from the counts, with noise.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

FRAUD = 0.02
"""Share of payments that are planted frauds."""
KINDS = ("card_testing", "takeover", "stolen_card", "far_away", "bust_out")
"""Of planted frauds: many small payments and a large one; another device and mail address; large amounts at odd hours;
another country; a quick run of ever larger payments by the holder."""
CUSTOMERS = 2_000
RATE = 20.0
"""Payments a second."""
KNOWN_DEVICES = 0.75
"""Share of payments of which the device is known."""
MOST_LATE_MS, TOO_LATE_MS, TOO_LATE = 50_000, 75_000, 0.01
"""The device is told at most so long after the payment; a few come later than the join of the tutorial waits."""
FIRST_SECOND = 86_400
"""``TransactionDT`` of the first payment: seconds since 2017-11-30, as the tutorial reads them."""
TRANSACTIONS, IDENTITIES = "transactions", "identities"

_DAY_S = 86_400
_RECENT_S = 3_600
_TRANSACTION_TEXTS = ("ProductCD", "card4", "card6", "P_emaildomain", "R_emaildomain", *(f"M{n}" for n in range(1, 10)))
_IDENTITY_TEXTS = tuple(f"id_{n:02}" for n in (12, 15, 16, 23, 27, 28, 29, 30, 31, 33, 34, 35, 36, 37, 38))
TRANSACTION_FIELDS = (
    "TransactionDT", "TransactionAmt", "ProductCD", *(f"card{n}" for n in range(1, 7)), "addr1", "addr2", "dist1",
    "dist2", "P_emaildomain", "R_emaildomain", *(f"C{n}" for n in range(1, 15)),
    *(f"D{n}" for n in (1, 2, 3, 4, 5, 10, 11, 15)), *(f"M{n}" for n in range(1, 10)),
    *(f"V{n}" for n in range(1, 31)), "Timestamp",
)  # fmt: skip
"""Names in the order of the schema: 77."""
IDENTITY_FIELDS = ("TransactionDT", *(f"id_{n:02}" for n in range(1, 39)), "DeviceType", "DeviceInfo", "Timestamp")
"""Names in the order of the schema: 42."""

_NAMESPACE = "org.apache.flink.avro.generated"
_TIME = {"type": "long", "logicalType": "local-timestamp-millis"}
_PRODUCTS = (("W", 0.7), ("C", 0.12), ("R", 0.08), ("H", 0.06), ("S", 0.04))
_MAILS = ("gmail.com", "yahoo.com", "hotmail.com", "icloud.com", "outlook.com", "aol.com", "comcast.net")
_ODD_MAILS = ("protonmail.com", "mail.com", "anonymous.com")
_NETWORKS = ("visa", "mastercard", "american express", "discover")
_DEVICES = (
    ("desktop", "Windows", "Windows 10", "chrome 63.0", "1920x1080"),
    ("desktop", "MacOS", "Mac OS X 10_12_6", "safari generic", "2560x1600"),
    ("mobile", "iOS Device", "iOS 11.1.2", "mobile safari 11.0", "1334x750"),
    ("mobile", "SAMSUNG SM-G935F", "Android 7.0", "chrome 62.0 for android", "2220x1080"),
)
_ODD_DEVICE = ("desktop", "Trident/7.0", "Windows 7", "ie 11.0 for desktop", "1024x768")


class PaymentRecord(NamedTuple):
    """A record of one of the two topics before it is encoded.

    Args:
        topic: where it belongs.
        number: ``TransactionID``, which is the key.
        value: field and value, in the order of the schema; ``Timestamp`` is the record's.
        timestamp_ms: of the record.
        fraud: the planted kind; "" for none. Of payments only.
    """

    topic: str
    number: int
    value: dict[str, Any]
    timestamp_ms: int
    fraud: str = ""


@dataclass(slots=True)
class _Holder:
    """A cardholder with habits."""

    card: int
    bank: tuple[float, float, str, float, str]
    address: tuple[float, float]
    mail: str
    device: tuple[str, ...]
    usual: float
    hour: float
    since_s: float
    last_s: float
    first_amount: float = 0.0
    recent: deque[tuple[float, float]] = field(default_factory=deque)


def avro_schema(topic: str) -> dict[str, Any]:
    """Schema of the values of ``transactions`` or ``identities``."""
    names, texts = _layout(topic)
    fields: list[dict[str, Any]] = []
    for name in names:
        if name == "Timestamp":
            fields.append({"name": name, "type": _TIME})
        elif name in texts:
            fields.append({"name": name, "type": "string"})
        elif name == "card1":
            fields.append({"name": name, "type": ["null", "int"], "default": None})
        else:
            fields.append({"name": name, "type": ["null", "float"], "default": None})
    return {"type": "record", "name": f"{topic}_value", "namespace": _NAMESPACE, "fields": fields}


def avro_key_schema(topic: str) -> dict[str, Any]:
    """Schema of the keys: the number of the payment alone."""
    fields = [{"name": "TransactionID", "type": "int"}]
    return {"type": "record", "name": f"{topic}_key", "namespace": _NAMESPACE, "fields": fields}


def _layout(topic: str) -> tuple[tuple[str, ...], frozenset[str]]:
    if topic == TRANSACTIONS:
        return TRANSACTION_FIELDS, frozenset(_TRANSACTION_TEXTS)
    return IDENTITY_FIELDS, frozenset((*_IDENTITY_TEXTS, "DeviceType", "DeviceInfo"))


def payments(
    seed: int, count: int | None, start_ms: int, rate: float = RATE, fraud: float = FRAUD
) -> Iterator[PaymentRecord]:
    """Records of both topics in the order of their timestamps, with random gaps.

    Args:
        seed: the same seed gives the same records.
        count: payments; None for no end. Devices come beside them.
        start_ms: timestamp of the first payment.
        rate: payments per second of record time.
        fraud: share of planted frauds.

    Example:
        >>> first = next(payments(seed=1, count=1, start_ms=0))
        >>> first.topic, first.number, len(first.value)
        ('transactions', 2987000, 77)
    """
    random = Random(seed)
    holders = [_holder(random, number) for number in range(CUSTOMERS)]
    waiting: list[PaymentRecord] = []  # devices that are told later, by time
    campaign: deque[tuple[_Holder, str, int]] = deque()
    second, number, made = 0.0, 2_987_000, 0
    while count is None or made < count:
        if made:
            second += random.expovariate(rate)
        at = start_ms + int(second * 1_000)
        while waiting and waiting[0].timestamp_ms <= at:
            yield waiting.pop(0)
        # A fraud is a campaign of some payments: so many of them begin that their payments have the wanted share.
        if not campaign and random.random() < fraud / (_CAMPAIGN * (1 - fraud)):
            kind, victim = KINDS[int(random.random() * len(KINDS))], holders[int(random.random() * CUSTOMERS)]
            campaign.extend((victim, kind, step) for step in range(1 + int(random.random() * (2 * _CAMPAIGN - 1))))
        mine = campaign and random.random() < 0.5
        holder, kind, step = campaign.popleft() if mine else (holders[int(random.random() * CUSTOMERS)], "", 0)
        payment, device = _draw(random, holder, kind, step, second)
        payment |= {"TransactionDT": float(FIRST_SECOND + int(second)), "Timestamp": at}
        yield PaymentRecord(TRANSACTIONS, number, {name: payment[name] for name in TRANSACTION_FIELDS}, at, kind)
        if random.random() < KNOWN_DEVICES:
            late = random.random() < TOO_LATE
            after = at + (TOO_LATE_MS if late else int(random.random() ** 3 * MOST_LATE_MS))
            identity = _identity(random, device, kind) | {"TransactionDT": payment["TransactionDT"], "Timestamp": after}
            told = PaymentRecord(IDENTITIES, number, {name: identity[name] for name in IDENTITY_FIELDS}, after)
            place = len(waiting)
            while place and waiting[place - 1].timestamp_ms > after:
                place -= 1
            waiting.insert(place, told)
        number, made = number + 1, made + 1
    yield from waiting


_CAMPAIGN = 4
"""Payments of a fraud, on average."""


def _holder(random: Random, number: int) -> _Holder:
    draw = random.random
    network = _NETWORKS[min(3, int(draw() ** 2 * 4))]
    bank = (100.0 + int(draw() * 500), 150.0 if draw() < 0.9 else 185.0, network, 226.0 if draw() < 0.6 else 102.0)
    kind = "debit" if draw() < 0.7 else "credit"
    return _Holder(
        card=1_000 + number * 7 % 17_000,
        bank=(*bank, kind),
        address=(100.0 + int(draw() * 430), 87.0),
        mail=_MAILS[int(draw() ** 2 * len(_MAILS))],
        device=_DEVICES[int(draw() * len(_DEVICES))],
        usual=math.exp(random.gauss(4.0, 0.7)),
        hour=8 + 12 * draw(),
        since_s=-draw() * 600 * _DAY_S,
        last_s=-draw() * 20 * _DAY_S,
    )


def _draw(random: Random, holder: _Holder, kind: str, step: int, second: float) -> tuple[dict[str, Any], Any]:
    """A payment, and the device that made it."""
    draw, gauss = random.random, random.gauss
    amount = holder.usual * math.exp(gauss(0, 0.5))
    product = _choose(_PRODUCTS, draw())
    mail, address, device, distance = holder.mail, holder.address, holder.device, draw() ** 4 * 300
    agree = 0.95
    hour = (second / 3_600 + holder.hour) % 24
    if kind == "card_testing":
        amount = 1.0 + draw() * 3 if step < 3 else holder.usual * (5 + 5 * draw())
        product, device, agree = "C", _ODD_DEVICE, 0.5
    elif kind == "takeover":
        amount *= 2.5
        mail, device, agree = _ODD_MAILS[int(draw() * 3)], _ODD_DEVICE, 0.4
    elif kind == "stolen_card":
        amount *= 4
        product, agree, hour = ("H", "R", "S")[int(draw() * 3)], 0.3, draw() * 5
    elif kind == "far_away":
        address, distance, amount, agree = (100.0 + int(draw() * 430), 60.0), 1_500 + 4_000 * draw(), amount * 2, 0.4
    elif kind == "bust_out":
        amount = holder.usual * (2 + 1.5 * step) * math.exp(gauss(0, 0.2))
    recent = holder.recent
    while recent and recent[0][0] < second - _RECENT_S:
        recent.popleft()
    recent.append((second, amount))
    often = len(recent)
    spent = sum(paid for _, paid in recent)
    since, gap = (second - holder.since_s) / _DAY_S, (second - holder.last_s) / _DAY_S
    holder.last_s = second
    foreign = kind in ("takeover", "far_away", "card_testing")
    counts = {f"C{n}": float(max(0, round(often * (0.5 + n % 3 / 2) + gauss(0, 0.4)))) for n in range(1, 15)}
    counts["C3"], counts["C4"] = 0.0, float(foreign and draw() < 0.6)
    known = draw() < 0.9
    days = {
        "D1": since, "D2": since if known else None, "D3": gap, "D4": since if draw() < 0.8 else None,
        "D5": gap if draw() < 0.5 else None, "D10": since * 0.9, "D11": since if draw() < 0.5 else None, "D15": since,
    }  # fmt: skip
    match = {f"M{n}": "T" if draw() < agree else "F" for n in range(1, 10)}
    match["M4"] = f"M{int(draw() * 3)}"
    if draw() < 0.4:
        match |= dict.fromkeys(("M1", "M2", "M3", "M5", "M7", "M8", "M9"), "")
    ratio = amount / holder.usual
    basis = (often, spent / holder.usual, ratio, float(foreign), hour, gap)
    values = {f"V{n}": _value(basis, n, gauss) if draw() < 0.85 else None for n in range(1, 31)}
    payment: dict[str, Any] = {
        "TransactionAmt": round(amount, 2), "ProductCD": product, "card1": holder.card, "addr1": address[0],
        "addr2": address[1], "dist1": round(distance) if draw() < 0.4 else None, "dist2": None, "P_emaildomain": mail,
        "R_emaildomain": mail if draw() < 0.25 else "", **counts, **_rounded(days), **match, **values,
    }  # fmt: skip
    payment |= dict(zip((f"card{n}" for n in range(2, 7)), holder.bank, strict=True))
    return payment, device


def _identity(random: Random, device: tuple[str, ...], kind: str) -> dict[str, Any]:
    """What is known of a device."""
    draw = random.random
    type_, info, system, browser, screen = device
    odd = device is _ODD_DEVICE
    texts = {
        "id_12": "Found" if draw() < 0.2 else "NotFound", "id_15": "New" if odd and draw() < 0.9 else "Found",
        "id_16": "NotFound" if odd else "Found", "id_28": "New" if odd else "Found", "id_29": "Found",
        "id_30": system, "id_31": browser, "id_33": screen, "id_34": "match_status:2", "id_35": "T",
        "id_36": "F", "id_37": "F" if kind == "far_away" else "T", "id_38": "T" if draw() < 0.5 else "F",
        "id_23": "IP_PROXY:ANONYMOUS" if kind in ("takeover", "far_away") and draw() < 0.6 else "", "id_27": "",
    }  # fmt: skip
    numbers: dict[str, float | None] = {
        f"id_{n:02}": round(random.gauss(n, 2 + 6 * odd), 1) if draw() < 0.7 else None for n in range(1, 39)
    }
    return {**numbers, **texts, "DeviceType": type_, "DeviceInfo": info}


def _value(basis: tuple[float, ...], number: int, gauss: Any) -> float:
    return float(round(basis[number % len(basis)] * (0.5 + number / 30) + gauss(0, 0.5), 3))


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else float(round(value)) for name, value in values.items()}


def _choose(weighted: tuple[tuple[str, float], ...], drawn: float) -> str:
    for name, weight in weighted:
        drawn -= weight
        if drawn < 0:
            return name
    return weighted[-1][0]
