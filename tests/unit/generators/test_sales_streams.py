"""The streams of the sales tutorial have its distributions, and the same seed gives the same records."""

from __future__ import annotations

from collections import Counter

import pytest

from anomaly_app.generators import GENERATORS, clicks, international_sales, sales
from anomaly_app.generators.sales import CURRENCIES

COUNT = 40_000


@pytest.mark.parametrize("name", GENERATORS)
def test_a_seed_decides_the_values_and_nothing_else_does(name: str) -> None:
    make = GENERATORS[name]
    first = list(make(0.1).records(1, 500, 0))
    assert list(make(0.1).records(1, 500, 0)) == first
    elsewhen = list(make(0.1).records(1, 500, 99, rate=7))
    stamp = make(0.1).stamp  # the one field that tells the time
    for record in (*first, *elsewhen):
        record.value.pop(stamp, None)
    assert [record.value for record in elsewhen] == [record.value for record in first]
    first = list(make(0.1).records(1, 500, 0))
    assert list(make(0.1).records(2, 500, 0)) != first
    endless = make(0.1).records(1, None, 0)
    assert [next(endless) for _ in range(500)] == first


@pytest.mark.parametrize("name", GENERATORS)
def test_values_have_the_fields_of_the_schema_in_order(name: str) -> None:
    generator = GENERATORS[name](0.1)
    record = next(generator.records(1, 1, 0))
    assert list(record.value) == [field["name"] for field in generator.avro_schema["fields"]]
    assert sorted(generator.csv_fields) == sorted(generator.fields)


def test_records_are_spaced_by_the_rate_and_keyed_by_their_time() -> None:
    records = list(sales().records(1, 301, 1_700_000_000_000, rate=100))
    assert [record.timestamp_ms - 1_700_000_000_000 for record in records] == list(range(0, 3_001, 10))
    assert all(record.key == str(record.timestamp_ms) for record in records)
    thirds = [record.timestamp_ms for record in sales().records(1, 7, 0, rate=3)]
    assert thirds == [0, 333, 666, 1_000, 1_333, 1_666, 2_000]


def test_sales_have_the_distributions_of_the_tutorial() -> None:
    values = [record.value for record in sales().records(1, COUNT, 0)]
    assert {value["user_id"] for value in values} == {f"user-{number}" for number in range(100)}
    assert {value["product_id"] for value in values} == {str(number) for number in range(200)}
    assert {value["unit_cost"] for value in values} == {f"£{number}" for number in range(1, 1_001)}
    invoices = [int(value["invoice_id"]) for value in values]
    assert len(set(invoices)) == COUNT
    assert 0 <= min(invoices) and (1 << 62) < max(invoices) <= 1 << 63
    quantities = Counter(int(value["quantity"]) for value in values)
    assert set(quantities) == {1, 2, 3, 10, 20, 30}
    rare = sum(quantities[number] for number in (10, 20, 30))
    # Five standard deviations around 2 in 1000.
    assert abs(rare - 0.002 * COUNT) < 5 * (0.002 * COUNT) ** 0.5
    assert all(abs(quantities[number] - COUNT / 3) < 600 for number in (1, 2, 3))


@pytest.mark.parametrize(("rare", "expected"), [(0.0, {1, 2, 3}), (1.0, {10, 20, 30})])
def test_the_probability_of_rare_quantities_is_an_option(rare: float, expected: set[int]) -> None:
    assert {int(record.value["quantity"]) for record in sales(rare).records(1, 500, 0)} == expected


def test_international_sales_come_in_six_currencies() -> None:
    costs = [record.value["unit_cost"] for record in international_sales().records(1, 5_000, 0)]
    assert {cost[0] for cost in costs} == set(CURRENCIES) and len(CURRENCIES) == 6
    assert all(1 <= int(cost[1:]) <= 1_000 for cost in costs)


def test_clicks_have_a_user_and_a_product() -> None:
    record = next(clicks().records(1, 1, 0))
    assert record.topic == "flink.click.streams"
    assert record.value["user_id"].startswith("user-") and 0 <= int(record.value["product_id"]) < 200
