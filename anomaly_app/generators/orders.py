"""The stream of the anomaly detection tutorial: orders of a marketplace (S1-12)."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID

from anomaly_app.generators.stream import Generator

CUSTOMERS = (3000, 3250)
PRODUCTS = (1000, 1500)
HIGHEST_PRICE = 100.0

_TYPES = {"order_id": "string", "customer_id": "int", "product_id": "int", "price": "double"}


def orders() -> Generator:
    """Orders with prices spread evenly from 0 to 100: what is unusual for a customer is so by chance."""
    fields = tuple(_TYPES)
    return Generator("orders", "orders", "Order", fields, fields, "order_time", _order, _TYPES)


def _order(random: Random) -> dict[str, Any]:
    draw = random.random
    return {
        "order_id": str(UUID(int=random.getrandbits(128), version=4)),
        "customer_id": CUSTOMERS[0] + int(draw() * (CUSTOMERS[1] - CUSTOMERS[0] + 1)),
        "product_id": PRODUCTS[0] + int(draw() * (PRODUCTS[1] - PRODUCTS[0] + 1)),
        "price": round(draw() * HIGHEST_PRICE, 2),
    }
