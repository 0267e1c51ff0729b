"""Records that nobody should send: set apart with the reason, counted, and the good rows are none the worse for it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer
from registry_thread import RegistryThread
from sales_run import AVRO, KEYED, PLAIN, Broker, Run, SalesRow, encode_avro, expected, iso, sale_rows, until

from anomaly_app.generators.encode import RegistryAccess, register
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, send

START = 1_760_000_000_000
YEAR_9999 = 253_402_300_799_000
PARTITIONS = 4
GARBAGE = b"x" * 900_000


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic))


class Poison(NamedTuple):
    """A bad record, and what its dead letter must say."""

    value: bytes | None
    error: str
    key: bytes | None = b"bad"
    timestamp_ms: int = START + 5_000


class Case(NamedTuple):
    """A source in some format."""

    name: str
    format: str
    encode: Callable[[SalesRow], Sent]
    poison: Sequence[Poison]
    keyed: bool = False
    record_time: bool = False


# --- JSON -----------------------------------------------------------------------------------------------------------


def sale(**other: Any) -> bytes:
    """A sale as JSON, some fields other than usual; None leaves one out."""
    value = {"user_id": "bad", "invoice_id": "bad", "quantity": 1, "ts": iso(START + 5_000), **other}
    return json.dumps({name: field for name, field in value.items() if field is not None}).encode()


def encode_json(row: SalesRow) -> Sent:
    user, invoice, quantity, ms = row
    return Sent(user.encode(), sale(user_id=user, invoice_id=invoice, quantity=quantity, ts=iso(ms)), ms)


JSON_POISON = [
    Poison(b"", "not JSON"),
    Poison(b"not json", "not JSON"),
    Poison(b'{"user_id": "u", "quantity"', "not JSON"),
    Poison(b'\xff\xfe{"user_id": 1}', "not JSON"),
    Poison(sale().replace(b'"bad"', b'"\xff"'), "not JSON"),
    Poison(sale().replace(b'"bad"', b'"\\ud800"'), "not JSON"),
    Poison(b"[1, 2]", "a JSON object was expected"),
    Poison(b"null", "a JSON object was expected"),
    Poison(GARBAGE, "not JSON"),
    Poison(b'{"user_id":' + b"[" * 100_000, "not JSON"),
    Poison(sale(quantity="many"), "field 'quantity'"),
    Poison(sale(quantity="9" * 850_000), "field 'quantity'"),
    Poison(sale(quantity=99_999_999_999), "field 'quantity'"),
    Poison(sale(quantity=1e300), "field 'quantity'"),
    Poison(sale(quantity={"a": 1}), "field 'quantity'"),
    Poison(sale(ts="yesterday"), "field 'ts'"),
    Poison(sale(ts=True), "field 'ts'"),
    Poison(sale(ts=None), "event time ts is NULL"),
    Poison(sale(ts="1901-01-01 00:00:00"), "event time ts is negative"),
    Poison(sale(ts="9999-12-31 23:59:59.999"), "ahead of the clock"),
    Poison(sale(ts="+99999-01-01 00:00:00"), "field 'ts'"),
    Poison(None, "null value"),
    Poison(None, "null value", key=None),
]
KEY_POISON = [Poison(sale(), "null key", key=None), Poison(sale(), "key: not a raw STRING", key=b"\xff")]

# --- CSV and Avro ---------------------------------------------------------------------------------------------------


def encode_csv(row: SalesRow) -> Sent:
    user, invoice, quantity, ms = row
    return Sent(str(ms).encode(), f"{user},{invoice},{quantity}".encode(), ms)


CSV_POISON = [
    Poison(b"", ""),
    Poison(b"u,1", "3"),
    Poison(b"u,1,2,3", "3"),
    Poison(b'"u,1,2', ""),
    Poison(b"u,1,many", "quantity"),
    Poison(b"u,1," + b"9" * 850_000, "quantity"),
    Poison(b"\xff,1,2", ""),
    Poison(b"u,1,2", "ahead of the clock", timestamp_ms=YEAR_9999),
    Poison(b"u,1,2", "negative", timestamp_ms=-62_135_596_800_000),
    Poison(None, "null value"),
]


GOOD_AVRO = encode_avro(("user", "1", 2, START)).value or b""
AVRO_POISON = [
    Poison(b"", ""),
    Poison(b"\0", ""),
    Poison(b"\0\0\0\0", ""),
    Poison(b"\0\0\0\0\1", ""),
    Poison(GOOD_AVRO[:-3], ""),
    Poison(b"\1" + GOOD_AVRO[1:], ""),
    Poison(b'{"user_id": "u"}', ""),
    Poison(encode_avro(("u", "1", 1, 0), schema_id=777).value, "777"),
    Poison(encode_avro(("u", "1", 1, 0), schema_id=0xFFFFFFFF).value, "4294967295"),
    Poison(encode_avro(("u", "1", 1, 0), schema_id=2).value, "schema 2"),
    Poison(b"\0\0\0\0\1" + b"\xff" * 9 + b"\1", ""),
    Poison(b"\0\0\0\0\1" + GARBAGE, ""),
    Poison(GOOD_AVRO, "ahead of the clock", timestamp_ms=YEAR_9999),
    Poison(None, "null value"),
]


def cases(registry: str) -> list[Case]:
    avro = f"'format' = 'avro-confluent', 'avro-confluent.url' = '{registry}'"
    return [
        Case("json", PLAIN, encode_json, JSON_POISON),
        Case("keyed", KEYED, encode_json, JSON_POISON + KEY_POISON, keyed=True),
        Case("csv", "'format' = 'csv'", encode_csv, CSV_POISON, record_time=True),
        Case("avro", avro, encode_avro, AVRO_POISON, record_time=True),
    ]


# --- running ----------------------------------------------------------------------------------------------------------


def prepare(broker: Broker, folder: Path, case: Case) -> Run:
    run = Run(broker, folder, case.name, keyed=case.keyed)
    job = run.job.read_text().replace(KEYED if case.keyed else PLAIN, case.format)
    if case.record_time:
        job = job.replace(
            "ts TIMESTAMP(3),\n    WATERMARK", "ts TIMESTAMP(3) METADATA FROM 'timestamp',\n    WATERMARK"
        )
    run.job.write_text(job)
    return run


def send_nothing(run: Run) -> None:
    """A record without key and value, which aiokafka refuses to send."""
    producer = Producer({"bootstrap.servers": run.broker.servers})
    producer.produce(run.topic, value=None, key=None, partition=0, timestamp=START)
    assert producer.flush(10) == 0


def send_among(run: Run, rows: Sequence[SalesRow], encode: Callable[[SalesRow], Sent], bad: Sequence[Poison]) -> None:
    """Send rows with bad records among them, then a row on each partition that moves time past all of them."""
    records = [encode(row) for row in rows]
    step = len(records) // (len(bad) + 1)
    for number, poison in enumerate(bad):
        if poison.key is None and poison.value is None:
            send_nothing(run)
            continue
        records.insert((number + 1) * step, Sent(poison.key, poison.value, poison.timestamp_ms))
    last = max(row[3] for row in rows) + 60_000
    closing = [encode((f"closing-{p}", "closing", 1, last))._replace(partition=p) for p in range(PARTITIONS)]
    asyncio.run(send(run.broker.servers, run.topic, [*records, *closing]))


def headers(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def metrics(worker: WorkerProcess) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
        return answer.read().decode().splitlines()


def metric(lines: Sequence[str], name: str, topic: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and f'topic="{topic}"' in line)


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(90)
def test_poison_becomes_dead_letters_and_the_alerts_of_the_good_rows_all_come(broker: Broker, tmp_path: Path) -> None:
    rows = sale_rows(3_000, seed=3)
    want = Counter(row[1] for row in expected(rows))
    assert len(want) > 40
    with RegistryThread() as registry:
        access = RegistryAccess(registry.url)
        assert register(access, "sale-value", AVRO) == 1
        numbers = {"type": "map", "values": "int"}
        other = {"type": "record", "name": "Other", "fields": [{"name": "quantity", "type": numbers}]}
        assert register(access, "other-value", other) == 2
        tested = [(case, prepare(broker, tmp_path, case)) for case in cases(registry.url)]
        for case, run in tested:
            send_among(run, rows, case.encode, case.poison)
        jobs = ",".join(str(run.job) for _, run in tested)
        with WorkerProcess({**tested[0][1].settings, "worker.jobs": jobs}) as worker:
            worker.wait_ready()

            def done() -> bool:
                status = worker.get("/api/status")
                apart = sum(p["dead_letters"] + p["rejected"] for p in status["partitions"])
                bad = sum(len(case.poison) for case, _ in tested)
                return status["alerts"] >= len(want) * len(tested) and apart >= bad

            until(done, worker, "alerts and dead letters")
            status, lines = worker.get("/api/status"), metrics(worker)
            assert status["ready"] and status["healthy"] and status["rows"] > 0
            assert worker.stop() == 0, worker.output
            assert "Traceback" not in worker.output
    for case, run in tested:
        check_dead_letters(case, run)
        own = [p for p in status["partitions"] if p["topic"] == run.topic]
        ahead = sum("ahead" in poison.error for poison in case.poison)
        assert sum(p["rejected"] for p in own) == metric(lines, "anomaly_rejected_rows_total", run.topic) == ahead
        undecodable = len(case.poison) - ahead
        assert sum(p["dead_letters"] for p in own) == undecodable
        assert metric(lines, "anomaly_dead_letters_total", run.topic) == undecodable
        # The year 9999 has not moved the watermark: nothing came late.
        assert run.read("late") == []
        assert Counter(record.value.decode().split(",")[1] for record in run.read("unusual")) == want


def check_dead_letters(case: Case, run: Run) -> None:
    left = [(poison.key, poison.value, poison.error) for poison in case.poison]
    for letter in run.read("dlq"):
        told = headers(letter)
        found = next((p for p in left if p[:2] == (letter.key, letter.value) and p[2] in told["anomaly-error"]), None)
        assert found is not None, (case.name, letter.key, (letter.value or b"")[:80], told)
        left.remove(found)
        assert told["anomaly-source-topic"] == run.topic and told["anomaly-payload"] == "raw"
        assert int(told["anomaly-source-partition"]) in range(PARTITIONS)
        assert int(told["anomaly-source-offset"]) >= 0 and int(told["anomaly-source-timestamp"])
        assert told["anomaly-error-type"] in ("DecodeError", "DataError")
        assert len(told["anomaly-error"]) < 500
    assert left == [], case.name


FAILING = """
CREATE TABLE readings (
    sensor STRING, kind STRING, reading STRING, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE found (sensor STRING, reading INT) WITH (
    'connector' = 'kafka', 'topic' = '{topic}.found', 'format' = 'json');
INSERT INTO found SELECT * FROM readings MATCH_RECOGNIZE (
    PARTITION BY sensor ORDER BY ts
    MEASURES CAST(HIGH.reading AS INT) AS reading
    ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
    PATTERN (HIGH) WITHIN INTERVAL '10' SECOND
    DEFINE HIGH AS CAST(HIGH.reading AS INT) > 100
);
SELECT * FROM readings MATCH_RECOGNIZE (
    PARTITION BY sensor ORDER BY ts
    MEASURES C.reading AS reading
    ONE ROW PER MATCH AFTER MATCH SKIP TO FIRST B
    PATTERN (A B? C) WITHIN INTERVAL '10' SECOND
    DEFINE A AS A.kind = 'a', B AS B.kind = 'b', C AS C.kind = 'c'
);
"""


def reading(sensor: str, ms: int, reading: str = "1", kind: str = "") -> Sent:
    value = {"sensor": sensor, "kind": kind, "reading": reading, "ts": iso(START + ms)}
    return Sent(sensor.encode(), json.dumps(value).encode(), START + ms, partition=0)


def test_a_row_on_which_a_rule_fails_is_a_dead_letter_and_the_rule_goes_on(broker: Broker, tmp_path: Path) -> None:
    run = Run(broker, tmp_path, "failing")
    run.job.write_text(FAILING.format(topic=run.topic))
    sent = [
        reading("s", 0, "500"), reading("s", 10, "x"), reading("s", 20, "600"), reading("t", 30, "700"),
        reading("u", 40, kind="a"), reading("u", 50, kind="c"), reading("u", 60, kind="a"), reading("u", 70, kind="b"),
        reading("u", 80, kind="c"),
    ]  # fmt: skip
    asyncio.run(send(broker.servers, run.topic, sent))
    run.finish()
    found = [json.loads(record.value) for record in run.read("found")]
    assert sorted(row["reading"] for row in found) == [500, 600, 700]
    letters = {headers(record)["anomaly-source-offset"]: record for record in run.read("dlq")}
    assert sorted(letters) == ["1", "5"]
    cast, skip = letters["1"], letters["5"]
    assert "'x'" in headers(cast)["anomaly-error"] and headers(cast)["anomaly-error-type"] == "EvaluationError"
    assert json.loads(cast.value)["sensor"] == "s" and json.loads(cast.value)["reading"] == "x"
    assert "AFTER MATCH SKIP" in headers(skip)["anomaly-error"]
    for letter in letters.values():
        told = headers(letter)
        assert told["anomaly-payload"] == "row" and told["anomaly-job"] == "failing" and told["anomaly-query"]
        assert told["anomaly-source-topic"] == run.topic and told["anomaly-source-partition"] == "0"
    payloads = [alert["payload"] for alert in run.alerts() if alert["query"] != "found"]
    assert {"sensor": "u", "reading": "1"} in payloads


def test_plans_that_read_one_topic_set_a_record_apart_once(broker: Broker, tmp_path: Path) -> None:
    """Also after a restart, when the pattern reads again what the other plans are done with."""
    run = Run(broker, tmp_path, "plans")
    more = "SELECT user_id, quantity FROM sales WHERE quantity > 1;\nSELECT invoice_id FROM sales WHERE quantity > 2;\n"
    pairs = """SELECT * FROM sales MATCH_RECOGNIZE (ORDER BY ts MEASURES A.invoice_id AS a
        PATTERN (A B) WITHIN INTERVAL '1' MINUTE DEFINE B AS B.quantity > A.quantity)"""
    run.job.write_text(f"{run.job.read_text().rstrip().removesuffix(';')};\n{more}{pairs};\n")
    good = [encode_json(("u", str(n), 1, START + n * 1_000)) for n in range(4)]
    bad = [Sent(b"u", b"bad", START), Sent(b"u", sale(ts="9999-01-01 00:00:00"), START)]
    sent = [record._replace(partition=0) for record in [*good, *bad, good[0]]]
    asyncio.run(send(broker.servers, run.topic, sent))
    with run.start() as worker:
        worker.wait_ready()
        until(lambda: len(run.read("dlq")) >= 2 and run.read("late"), worker, "records set apart")
        assert worker.stop() == 0, worker.output
    run.finish()
    assert sorted(record.value for record in run.read("dlq")) == sorted(record.value or b"" for record in bad)
    assert [record.value for record in run.read("late")] == [good[0].value]


def test_late_rows_go_to_a_topic_of_their_own_as_they_came(broker: Broker, tmp_path: Path) -> None:
    def row(ms: int, invoice: str, quantity: int = 1) -> Sent:
        return encode_json(("u", invoice, quantity, START + ms))._replace(partition=1)

    # The watermark stands one second behind the greatest time so far: at 4,000 when the late ones come.
    records = [row(3_000, "a"), row(5_000, "b"), row(4_000, "late", 50), row(4_001, "c"), row(10, "later", 50)]
    runs = [Run(broker, tmp_path, f"late-{'keyed' if keyed else 'unkeyed'}", keyed=keyed) for keyed in (True, False)]
    for run in runs:
        asyncio.run(send(broker.servers, run.topic, [*records, row(6_000, "d", 50), row(9_000, "e")]))
    with WorkerProcess({**runs[0].settings, "worker.jobs": ",".join(str(run.job) for run in runs)}) as worker:
        worker.wait_ready()
        until(lambda: worker.get("/api/status")["alerts"] == 2, worker, "alerts")
        partitions, lines = worker.get("/api/status")["partitions"], metrics(worker)
        assert worker.stop() == 0, worker.output
    for run in runs:
        late = sum(p["late"] for p in partitions if p["topic"] == run.topic)
        assert late == metric(lines, "anomaly_late_rows_total", run.topic) == 2
        found = run.read("late")
        assert [(r.key, r.value) for r in found] == [(records[n].key, records[n].value) for n in (2, 4)]
        assert [headers(record)["anomaly-source-offset"] for record in found] == ["2", "4"]
        assert {headers(record)["anomaly-source-partition"] for record in found} == {"1"}
        assert [r.value.decode().split(",")[1] for r in run.read("unusual")] == ["d"] and run.read("dlq") == []


@pytest.mark.kafka
def test_no_record_row_or_alert_is_too_large(kafka: ApacheKafka, tmp_path: Path) -> None:
    run = Run(Broker(kafka.bootstrap_servers, {}, lambda topic: kafka.create_topics({topic: 4})), tmp_path, "large")
    largest = 1_048_000
    rows = [
        ("a", "x" * 290_000, 1, START), ("a", "y" * 290_000, 90, START + 10),  # an alert with rows of 580 kB
        ("b", "x" * largest, 1, START + 20), ("b", "small", 90, START + 30),
        ("c", "small", 1, START + 40), ("c", "small", 90, START + 50),
    ]  # fmt: skip
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.max.bytes": 1_100_000})
    for user, invoice, quantity, ms in rows:
        value = encode_json((user, invoice, quantity, ms)).value
        producer.produce(run.topic, (value or b"")[:largest] if user == "b" else value, str(ms).encode(), timestamp=ms)
    producer.produce(run.topic, encode_json(("d", "x" * 900_000, 1, START)).value, b"d", timestamp=START)
    assert producer.flush(20) == 0
    run.finish()
    alerts = run.alerts()
    assert sorted(alert["key"]["user_id"] for alert in alerts) == ["a", "c"]
    assert all(len(json.dumps(alert)) < 100_000 for alert in alerts)
    assert {len(record.value) > 290_000 for record in run.read("unusual")} == {True, False}
    cut, whole = sorted(run.read("dlq"), key=lambda record: len(record.value))
    assert headers(cut)["anomaly-truncated"] == str(largest) and "not JSON" in headers(cut)["anomaly-error"]
    assert len(whole.value) > 900_000 and "300000" in headers(whole)["anomaly-error"]
