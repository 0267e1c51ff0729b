"""Seeded synthetic streams with the distributions of the tutorials; the same seed gives the same records."""

from __future__ import annotations

from collections.abc import Callable

from anomaly_app.generators.orders import orders
from anomaly_app.generators.sales import RARE as RARE_SALE, clicks, international_sales, sales
from anomaly_app.generators.stream import Generated, Generator
from anomaly_app.generators.transactions import RARE as RARE_TRANSACTION, transactions

GENERATORS: dict[str, Callable[[float], Generator]] = {
    "sales": sales,
    "clicks": lambda rare: clicks(),
    "international-sales": international_sales,
    "orders": lambda rare: orders(),
    "transactions": transactions,
}
"""Name of a stream, and what makes its generator from the probability of a rare quantity or amount."""


def usual_rarity(stream: str) -> float:
    """The probability of a rare value that the tutorial of a stream has."""
    return RARE_TRANSACTION if stream == "transactions" else RARE_SALE


__all__ = [
    "GENERATORS",
    "Generated",
    "Generator",
    "clicks",
    "international_sales",
    "orders",
    "sales",
    "transactions",
    "usual_rarity",
]
