"""Seeded synthetic streams with the distributions of the tutorials; the same seed gives the same records."""

from __future__ import annotations

from collections.abc import Callable

from anomaly_app.generators.orders import orders
from anomaly_app.generators.retail import clicks, international_sales, sales
from anomaly_app.generators.stream import Generated, Generator

GENERATORS: dict[str, Callable[[float], Generator]] = {
    "sales": sales,
    "clicks": lambda rare: clicks(),
    "international-sales": international_sales,
    "orders": lambda rare: orders(),
}
"""Name of a stream, and what makes its generator from the probability of a rare quantity."""

__all__ = ["GENERATORS", "Generated", "Generator", "clicks", "international_sales", "orders", "sales"]
