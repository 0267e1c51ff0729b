"""Card payments and their devices: fields, order, planted frauds."""

from __future__ import annotations

import io
import itertools
from collections import Counter

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from anomaly_app.generators.payments import (
    FRAUD,
    IDENTITIES,
    KINDS,
    TRANSACTIONS,
    avro_key_schema,
    avro_schema,
    payments,
)


def test_the_fields_are_those_of_the_data_set() -> None:
    assert len(avro_schema(TRANSACTIONS)["fields"]) == 77
    assert len(avro_schema(IDENTITIES)["fields"]) == 42
    texts = [one["name"] for one in avro_schema(IDENTITIES)["fields"] if one["type"] == "string"]
    assert texts[:3] == ["id_12", "id_15", "id_16"] and len(texts) == 17
    assert avro_key_schema(TRANSACTIONS)["name"] == "transactions_key"


def test_every_record_fits_its_schema_and_comes_back() -> None:
    schemas = {topic: parse_schema(avro_schema(topic)) for topic in (TRANSACTIONS, IDENTITIES)}
    for record in payments(seed=3, count=300, start_ms=1_767_258_000_000):
        buffer = io.BytesIO()
        schemaless_writer(buffer, schemas[record.topic], record.value, strict=True)
        buffer.seek(0)
        back = schemaless_reader(buffer, schemas[record.topic], None)
        assert back["Timestamp"].timestamp() is not None and set(back) == set(record.value)


def test_a_seed_gives_the_same_records_in_order_of_time() -> None:
    first = list(payments(seed=5, count=500, start_ms=1_000))
    assert first == list(payments(seed=5, count=500, start_ms=1_000))
    assert first != list(payments(seed=6, count=500, start_ms=1_000))
    times = [record.timestamp_ms for record in first]
    assert times == sorted(times) and all(r.value["Timestamp"] == r.timestamp_ms for r in first)
    assert first[:40] == list(itertools.islice(payments(seed=5, count=None, start_ms=1_000), 40))


def test_most_devices_are_told_in_time_and_some_too_late_or_never() -> None:
    records = list(payments(seed=2, count=5_000, start_ms=0))
    paid = {record.number: record for record in records if record.topic == TRANSACTIONS}
    gaps = [r.timestamp_ms - paid[r.number].timestamp_ms for r in records if r.topic == IDENTITIES]
    assert len(paid) == 5_000 and 0.7 < len(gaps) / 5_000 < 0.8
    assert min(gaps) >= 0 and 10 < sum(gap > 60_000 for gap in gaps) < 100


def test_frauds_of_all_kinds_have_their_share() -> None:
    records = [r for r in payments(seed=1, count=40_000, start_ms=0) if r.topic == TRANSACTIONS]
    kinds = Counter(record.fraud for record in records if record.fraud)
    assert set(kinds) == set(KINDS)
    assert 0.5 * FRAUD < sum(kinds.values()) / len(records) < 1.6 * FRAUD
    assert not any(r.fraud for r in payments(seed=1, count=2_000, start_ms=0, fraud=0))
