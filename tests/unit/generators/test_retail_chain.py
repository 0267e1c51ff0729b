"""The chain of stores: its share of everything, and incidents that are what they are said to be (S5-19, S5-20)."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from anomaly_app.cli import main
from anomaly_app.generators.retail import COUNTS, POS, PRICES, SECURITY, SHIFTS, Chances, Incident, RetailStream
from anomaly_app.generators.stream import Generated

START = 1_767_258_000_000


def records(count: int, seed: int = 1, **chances: float) -> tuple[list[Generated], list[Incident]]:
    stream = RetailStream(seed, START, chances=Chances(**chances))
    return list(stream.records(count)), stream.incidents


def test_the_same_seed_gives_the_same_records() -> None:
    first, planted = records(2_000)
    again, planted_again = records(2_000)
    assert (first, planted) == (again, planted_again)
    assert records(2_000, seed=2)[0] != first


def test_all_four_topics_are_in_step() -> None:
    made, _ = records(20_000)
    times = [record.timestamp_ms for record in made]
    assert times == sorted(times)
    seconds = (times[-1] - START) / 1_000
    counted = Counter(record.topic for record in made)
    receipts = [record.value for record in made if record.topic == POS]
    sales = [value for value in receipts if value["eventType"] == "SALE" and value["transactionId"].startswith("tx")]
    assert len(sales) == pytest.approx(seconds * 4, abs=2)
    assert counted[SHIFTS] == pytest.approx(seconds / 5, abs=2)
    assert counted[SECURITY] == pytest.approx(seconds / 7, rel=0.05)
    assert counted[COUNTS] == pytest.approx(seconds / 20 * 15, abs=15)
    assert {value["amount"] for value in sales} == set(PRICES.values())
    bumped = sum(value["sku"] in ("sku-005", "sku-006") for value in sales) / len(sales)
    assert bumped == pytest.approx(0.2 + 0.8 * 0.25, abs=0.03)
    assert all(value["amount"] == PRICES[value["sku"]] for value in sales), "the article is the one that was sold"


def test_keys_are_those_of_the_original() -> None:
    made, _ = records(2_000)
    for record in made:
        value = record.value
        key = {
            POS: value.get("transactionId"), SHIFTS: value.get("employeeId"), SECURITY: value.get("eventId"),
            COUNTS: f"{value.get('storeId')}:{value.get('sku')}",
        }[record.topic]  # fmt: skip
        assert record.key == key


def test_shifts_are_told_behind_their_time() -> None:
    shifts = [record for record in records(20_000)[0] if record.topic == SHIFTS]
    for record in shifts:
        value = record.value
        assert 30_000 <= record.timestamp_ms - value["shiftStart"] <= 90_000
        assert 300_000 <= value["shiftEnd"] - value["shiftStart"] <= 900_000


def test_without_incidents_nothing_is_wrong() -> None:
    made, planted = records(20_000, unmatched=0, burst=0, gate=0, shrinkage=0)
    assert planted == []
    assert {record.value["eventType"] for record in made if record.topic == SECURITY} == {"DOOR_OPEN"}
    sold = {record.value["transactionId"] for record in made if record.topic == POS}
    refunds = [r.value for r in made if r.topic == POS and r.value["eventType"] == "REFUND"]
    assert refunds
    assert all(value["transactionId"] in sold for value in refunds)


def test_incidents_are_what_they_are_said_to_be() -> None:
    made, planted = records(30_000, unmatched=0.01, burst=0.01, gate=0.01, shrinkage=0.01)
    assert {one.type for one in planted} == {"REFUND_PATTERN", "SECURITY_CORRELATION", "SHRINKAGE"}
    refunds = [r.value for r in made if r.topic == POS and r.value["eventType"] == "REFUND"]
    last = made[-1].timestamp_ms
    for one in itertools.islice((one for one in planted if one.end <= last), 200):
        if one.about == "refund_burst":
            own = [
                value for value in refunds
                if value["cashierId"] == one.fields["employId"] and one.begin <= value["eventTime"] <= one.end
            ]  # fmt: skip
            assert sum(value["amount"] >= 150 for value in own) >= 4


def test_the_command_writes_a_folder_and_its_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "retail", "--records", "3000", "--rare", "0.02", "--start", "2026-01-01 09:00:00"]
    assert main([*arguments, "--output", str(tmp_path / "a")]) == 0
    assert main([*arguments, "--output", str(tmp_path / "b"), "--truth", str(tmp_path / "truth.jsonl")]) == 0
    for table in ("pos_events", "staff_shifts", "security_events", "inventory_counts"):
        data = (tmp_path / "a" / f"{table}.jsonl").read_bytes()
        assert data
        assert data == (tmp_path / "b" / f"{table}.jsonl").read_bytes()
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert truth
    assert {"type", "from", "to", "fields", "about"} == set(truth[0])
    assert (tmp_path / "a" / "truth.jsonl").read_bytes() == (tmp_path / "truth.jsonl").read_bytes()
    assert "incidents planted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "avro"], "records of retail are json"),
        (["--topic", "x"], "four topics of its own"),
        (["--output", "x"], "needs --records"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "retail", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split()).replace(" │ ", " ")
