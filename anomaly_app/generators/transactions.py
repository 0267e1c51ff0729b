"""The stream of the card tutorial: transactions, two of a hundred far too large (S3-03, S3-04)."""

from __future__ import annotations

from random import Random
from typing import Any

from anomaly_app.generators.stream import Generator

RARE = 0.02
"""Probability of an amount that is far too large."""
USERS = 5
USUAL, UNUSUAL = (10.0, 500.0), (5_000.0, 50_000.0)
MERCHANTS = 100

_TYPES = {
    "userId": "string",
    "amount": "double",
    "timestamp": "long",
    "transactionId": "string",
    "merchantId": "string",
}


def transactions(rare: float = RARE) -> Generator:
    """Transactions of five users, keyed by the user.

    Args:
        rare: probability that an amount is from 5,000 to 50,000 rather than from 10 to 500.
    """

    def draw(random: Random) -> dict[str, Any]:
        low, high = UNUSUAL if random.random() < rare else USUAL
        return {
            "userId": f"user{1 + int(random.random() * USERS):03}",
            "amount": round(low + (high - low) * random.random(), 2),
            "timestamp": 0,  # the record's
            "transactionId": f"txn_{100_000 + int(random.random() * 900_000)}",
            "merchantId": f"merchant_{1 + int(random.random() * MERCHANTS)}",
        }

    fields = tuple(_TYPES)
    return Generator(
        "transactions", "transactions", "Transaction", fields, fields, "ts", draw, _TYPES, "userId", "timestamp"
    )
