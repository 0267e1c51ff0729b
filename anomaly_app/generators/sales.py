"""The streams of the sales tutorial: clicks, sales, and sales in six currencies (S2-02, S2-06, S2-07)."""

from __future__ import annotations

from random import Random

from anomaly_app.generators.stream import Generator

RARE = 0.002
"""Probability of a quantity ten times the usual (S2-06)."""
USERS = 100
PRODUCTS = 200
CURRENCIES = "€₹₺฿₴₮"

_SALE_FIELDS = ("user_id", "product_id", "invoice_id", "quantity", "unit_cost")
_SALE_CSV_FIELDS = ("invoice_id", "user_id", "product_id", "quantity", "unit_cost")
_CLICK_FIELDS = ("user_id", "product_id")


def sales(rare: float = RARE) -> Generator:
    """Sales in pounds.

    Args:
        rare: probability that a quantity of 1 to 3 is multiplied by ten.
    """

    def draw(random: Random) -> dict[str, str]:
        return _sale(random, rare, "£")

    return Generator("sales", "flink.sales.records", "Sales", _SALE_FIELDS, _SALE_CSV_FIELDS, "purchase_time", draw)


def international_sales(rare: float = RARE) -> Generator:
    """Sales with one of six currencies in front of the unit cost.

    Args:
        rare: probability that a quantity of 1 to 3 is multiplied by ten.
    """

    def draw(random: Random) -> dict[str, str]:
        return _sale(random, rare, CURRENCIES[int(random.random() * len(CURRENCIES))])

    topic, record = "flink.international.sales.records", "InternationalSales"
    return Generator("international-sales", topic, record, _SALE_FIELDS, _SALE_CSV_FIELDS, "purchase_time", draw)


def clicks() -> Generator:
    """Clicks of users on products."""
    return Generator("clicks", "flink.click.streams", "ClickStream", _CLICK_FIELDS, _CLICK_FIELDS, "click_time", _click)


def _click(random: Random) -> dict[str, str]:
    draw = random.random
    return {"user_id": f"user-{int(draw() * USERS)}", "product_id": str(int(draw() * PRODUCTS))}


def _sale(random: Random, rare: float, currency: str) -> dict[str, str]:
    # int(random() * n) is several times faster than randrange(n); its bias is beyond notice for n this small.
    draw = random.random
    quantity = 1 + int(draw() * 3)
    if draw() < rare:
        quantity *= 10
    return {
        "user_id": f"user-{int(draw() * USERS)}",
        "product_id": str(int(draw() * PRODUCTS)),
        # The size of a random signed 64-bit number.
        "invoice_id": str(abs(random.getrandbits(64) - (1 << 63))),
        "quantity": str(quantity),
        "unit_cost": f"{currency}{1 + int(draw() * 1000)}",
    }
