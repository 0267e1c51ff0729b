"""Simulated card payments with planted fraud of five kinds: what ``DETECT_OUTLIERS`` finds of it at a budget of alarms.

::

    python -m benchmarks.outliers [--cards 60] [--json FILE]

Each card has its own shops, amounts by shop, hours and pace. Planted after day 35, once each in every card: *amount*
(ten to thirty times the usual one), *hour* (in the card's night), *shop* (one where it never was, at a usual amount),
*pair* (a usual amount at the wrong one of its shops) and *burst* (six payments within minutes). A fraud is found if one
of its payments is among the alarms. The budget is in alarms per 1000 payments, over all cards, one threshold.

Beside it are the largest z of the fields by card, and an isolation forest of scikit-learn over the same fields, fitted
anew every day to all payments before it. All are causal.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from anomaly_app.detectors import check_options
from anomaly_app.multivariate.functions import DETECT_OUTLIERS

Floats = NDArray[np.float64]

DAY_MS = 86_400_000
START_MS = 1_767_225_600_000
DAYS, A_DAY, FIRST = 90, 5, 35
"""Days, payments a day of a card, and the day after which alarms count and fraud is planted."""
BUDGETS = (5.0, 10.0, 30.0)
"""Alarms per 1000 payments."""
KINDS = ("amount", "hour", "shop", "pair", "burst")
SHOPS = 30
OPTIONS = {"categories": "shop", "timeOfDay": True, "frequency": True, "minTrainingSize": 100}


class Payments(NamedTuple):
    """Payments of all cards in time order: card, ms, amount, shop, number of the fraud (-1 for none), kind of each."""

    card: NDArray[np.int64]
    time: NDArray[np.int64]
    amount: Floats
    shop: NDArray[np.int64]
    fraud: NDArray[np.int64]
    kinds: list[str]


def make(cards: int, seed: int = 1) -> Payments:
    """Payments of some cards.

    Example:
        >>> made = make(3)
        >>> len(made.kinds), bool((np.diff(made.time) >= 0).all()), int(made.fraud.max()) + 1 == len(made.kinds)
        (15, True, True)
    """
    random = np.random.default_rng(seed)
    rows: list[tuple[int, float, float, int, int]] = []
    kinds: list[str] = []
    for card in range(cards):
        shops = random.choice(SHOPS, 4, replace=False)
        usual = np.sort(random.lognormal(3, 1.2, 4))
        share = random.dirichlet(np.full(4, 3.0))
        hour, width = random.uniform(10, 20), random.uniform(1, 3)

        def pay(day: float, at: float, shop: int, number: int, amount: float, card: int = card) -> None:
            rows.append((card, day + at / 24, amount, shop, number))

        for day in range(DAYS):
            for place in random.choice(4, random.poisson(A_DAY), p=share):
                at = random.normal(hour, width) % 24
                pay(day, at, int(shops[place]), -1, float(usual[place] * random.lognormal(0, 0.25)))
        for kind in KINDS:
            day, at, number = int(random.integers(FIRST + 1, DAYS - 1)), random.normal(hour, width) % 24, len(kinds)
            place = int(random.integers(4))
            kinds.append(kind)
            if kind == "amount":
                pay(day, at, int(shops[place]), number, float(usual[-1] * random.uniform(10, 30)))
            elif kind == "hour":
                pay(day, (hour + 12) % 24, int(shops[place]), number, float(usual[place]))
            elif kind == "shop":
                pay(day, at, int((shops[0] + random.integers(1, SHOPS)) % SHOPS), number, float(usual[place]))
            elif kind == "pair":
                pay(day, at, int(shops[0]), number, float(usual[-1]))
            else:
                for step in range(6):
                    pay(day, at + step / 30, int(shops[place]), number, float(usual[place] * random.lognormal(0, 0.25)))
    return in_order(rows, kinds)


def in_order(rows: list[tuple[int, float, float, int, int]], kinds: list[str]) -> Payments:
    """Payments by their times.

    Args:
        rows: card, days since the start, amount, shop and number of the fraud.
        kinds: of the frauds.
    """
    rows.sort(key=lambda row: row[1])
    card, day, amount, shop, number = (np.array(column) for column in zip(*rows, strict=True))
    return Payments(card, START_MS + (day * DAY_MS).astype(np.int64), amount, shop, number, kinds)


def features(payments: Payments) -> Floats:
    """Logarithm of the amount, hour as sine and cosine, logarithm of the pause, rarity of the shop for its card."""
    hour = payments.time % DAY_MS / DAY_MS * 2 * np.pi
    pause, rarity = np.zeros(len(hour)), np.zeros(len(hour))
    last: dict[int, int] = {}
    counts: dict[tuple[int, int], int] = {}
    totals: dict[int, int] = {}
    columns = zip(payments.card.tolist(), payments.time.tolist(), payments.shop.tolist(), strict=True)
    for row, (card, time, shop) in enumerate(columns):
        pause[row] = np.log1p((time - last.get(card, time - DAY_MS // A_DAY)) / 1000)
        rarity[row] = -np.log((counts.get((card, shop), 0) + 0.5) / (totals.get(card, 0) + 1))
        last[card], totals[card] = time, totals.get(card, 0) + 1
        counts[card, shop] = counts.get((card, shop), 0) + 1
    return np.stack([np.log(payments.amount), np.sin(hour), np.cos(hour), pause, rarity], axis=1)


def largest_z(payments: Payments, fields: Floats) -> Floats:
    """The largest of the fields' distances from the card's mean so far, in its standard deviations."""
    scores = np.zeros(len(fields))
    for card in np.unique(payments.card):
        own = np.flatnonzero(payments.card == card)
        count = np.arange(1, len(own) + 1)[:, None]
        mean = np.cumsum(fields[own], axis=0) / count
        deviation = np.sqrt(np.maximum(np.cumsum(fields[own] ** 2, axis=0) / count - mean**2, 1e-9))
        scores[own[1:]] = (np.abs(fields[own[1:]] - mean[:-1]) / deviation[:-1]).max(axis=1)
    return scores


def forest(payments: Payments, fields: Floats) -> Floats:
    """An isolation forest that is fitted anew every day."""
    day, scores = (payments.time - START_MS) // DAY_MS, np.zeros(len(fields))
    for number in range(FIRST, DAYS):
        today = day == number
        if today.any():
            model = IsolationForest(n_estimators=50, max_samples=256, random_state=1).fit(fields[day < number])
            scores[today] = -model.score_samples(fields[today])
    return scores


def outliers(method: str, payments: Payments) -> Floats:
    """``DETECT_OUTLIERS`` by card: the score over its threshold."""
    given = {**OPTIONS, "method": method}
    if method == "trees":
        given["maxTrainingSize"] = 128
    detector = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, given), ["amount", "shop"])
    detector.grow(int(payments.card.max()) + 1)
    points = np.stack([np.log(payments.amount), payments.shop.astype(np.float64)], axis=1)
    told = detector.update(payments.card, payments.time, points)
    return np.array([0.0 if score is None else score for score in told.scores()])


def found(payments: Payments, scores: Floats, budget: float) -> dict[str, int]:
    """Frauds of each kind that have an alarm, at so many alarms per 1000 payments."""
    counted = payments.time >= START_MS + FIRST * DAY_MS
    alarms = int(budget * counted.sum() / 1000)
    ranked = np.argsort(np.where(counted, -scores, np.inf), kind="stable")[:alarms]
    hits = {int(number) for number in payments.fraud[ranked] if number >= 0}
    return {kind: sum(payments.kinds[number] == kind for number in hits) for kind in KINDS}


def main() -> None:
    """Make the payments and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    payments = make(arguments.cards)
    fields = features(payments)
    scored = {
        "largest z": largest_z(payments, fields),
        "isolation forest, daily": forest(payments, fields),
        "mahalanobis": outliers("mahalanobis", payments),
        "trees": outliers("trees", payments),
        "combined": outliers("combined", payments),
    }
    figures: dict[str, Any] = {}
    print(f"{len(payments.time):,} payments of {arguments.cards} cards, {len(payments.kinds)} frauds")
    for name, scores in scored.items():
        figures[name] = {str(budget): found(payments, scores, budget) for budget in BUDGETS}
        totals = " / ".join(f"{sum(hits.values()):3}" for hits in figures[name].values())
        kinds = ", ".join(f"{kind} {hits}" for kind, hits in figures[name][str(BUDGETS[1])].items())
        print(f"{name:24} {totals} at {' / '.join(map(str, BUDGETS))} alarms in 1000; at {BUDGETS[1]:g}: {kinds}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
