"""Orders have the fields and ranges of the tutorial's table (S1-12), and the same seed gives the same ones."""

from __future__ import annotations

import json
from uuid import UUID

from anomaly_app.cli import main
from anomaly_app.generators import orders
from anomaly_app.generators.encode import create_encoder


def values(count: int, seed: int = 1) -> list[dict[str, object]]:
    return [record.value for record in orders().records(seed, count, 1_000)]


def test_fields_types_and_ranges() -> None:
    made = values(20_000)
    assert [list(value) for value in made] == [["order_id", "customer_id", "product_id", "price"]] * len(made)
    assert len({UUID(str(value["order_id"])) for value in made}) == len(made)
    assert {UUID(str(value["order_id"])).version for value in made} == {4}
    assert {value["customer_id"] for value in made} == set(range(3000, 3251))
    assert {value["product_id"] for value in made} == set(range(1000, 1501))
    prices = [value["price"] for value in made]
    assert min(prices) >= 0 and max(prices) <= 100 and all(round(price, 2) == price for price in prices)
    assert abs(sum(prices) / len(prices) - 50) < 1


def test_the_same_seed_gives_the_same_orders() -> None:
    assert values(50, seed=7) == values(50, seed=7) != values(50, seed=8)


def test_numbers_are_numbers_in_every_format(tmp_path, capsys) -> None:
    value = values(1)[0]
    assert json.loads(create_encoder(orders(), "json")(value)) == value
    assert create_encoder(orders(), "csv")(value).decode().split(",")[1] == str(value["customer_id"])
    assert [field["type"] for field in orders().avro_schema["fields"]] == ["string", "int", "int", "double"]
    for ending in ("csv", "jsonl", "parquet"):
        file = tmp_path / f"orders.{ending}"
        assert main(["generate", "orders", "--records", "5", "--seed", "1", "--output", str(file)]) == 0
        capsys.readouterr()
        assert main(["query", "SELECT * FROM orders", str(file), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        types = {column["name"]: column["type"] for column in result["columns"]}
        assert types["price"] == "DOUBLE" and types["customer_id"] in ("INT", "BIGINT")
        assert types["order_time"] == "TIMESTAMP(3)"
        assert result["rows"][0].items() >= value.items()
