"""Kafka, the registry, or the worker itself is away for a while: afterwards nothing is missing and nothing is twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_thread import RegistryThread
from sales_run import AVRO, PLAIN, Broker, Run, encode_avro, expected, sale_rows, status_of, until

from anomaly_app.generators.encode import RegistryAccess, register
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.worker import send


def invoices(run: Run) -> Counter[str]:
    alerts = run.alerts()
    assert len({alert["id"] for alert in alerts}) == len(alerts)
    return Counter(alert["payload"]["invoice_id"] for alert in alerts)


@pytest.fixture(scope="module")
def embedded() -> Iterator[Broker]:
    with EmbeddedBroker() as broker:
        yield Broker(broker.bootstrap_servers, {}, lambda topic: broker.touch(topic))


def test_the_worker_waits_for_a_registry_that_is_away(embedded: Broker, tmp_path: Path) -> None:
    rows = sale_rows(2_000, seed=5)
    run = Run(embedded, tmp_path, "registry-away")
    with RegistryThread() as registry:
        access = RegistryAccess(registry.url)
        assert register(access, "sale-value", AVRO) == 1
        more = {"name": "more", "type": "string", "default": ""}
        newer = {**AVRO, "fields": [*AVRO["fields"], more]}
        assert register(access, "sale-value", newer) == 2
        format_ = f"'format' = 'avro-confluent', 'avro-confluent.url' = '{registry.url}'"
        job = run.job.read_text().replace(PLAIN, format_)
        run.job.write_text(job.replace("ts TIMESTAMP(3),\n", "ts TIMESTAMP(3) METADATA FROM 'timestamp',\n"))
        records = [encode_avro(row) for row in rows]
        later = [r._replace(value=b"\0\0\0\0\2" + (r.value or b"")[5:] + b"\0") for r in records[1_000:]]
        asyncio.run(send(embedded.servers, run.topic, records[:1_000]))
        with run.start() as worker:
            worker.wait_ready()
            until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "first alerts")
            registry.stop()
            asyncio.run(send(embedded.servers, run.topic, later))
            until(lambda: status_of(worker, "/ready") == 503, worker, "not ready")
            assert "registry" in worker.get("/ready")["reason"]
            assert status_of(worker, "/health") == 200
            registry.start()
            until(lambda: status_of(worker, "/ready") == 200, worker, "ready again")
            assert worker.stop() == 0, worker.output
        run.finish()
    assert run.read("dlq") == []
    assert invoices(run) == Counter(row[1] for row in expected(rows))


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_kafka_goes_away_and_comes_back(tmp_path: Path) -> None:
    problem = missing_tools()
    if problem:
        pytest.skip(problem)
    rows = sale_rows(6_000, seed=6)
    with ApacheKafka() as kafka:
        broker = Broker(kafka.bootstrap_servers, {}, lambda topic: kafka.create_topics({topic: 4}))
        run = Run(broker, tmp_path, "kafka-away")
        # Shorter than the outage: no partition may count as idle because of it, or what piles up would be late.
        with run.start(**{"worker.idle_timeout_s": 6}) as worker:
            worker.wait_ready()
            run.send(rows[:3_000])
            until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "first alerts")
            kafka.stop()
            begin, before = time.monotonic(), worker.get("/api/status")["alerts"]
            until(lambda: status_of(worker, "/ready") == 503, worker, "not ready", 10)
            assert "broker" in worker.get("/ready")["reason"]
            while time.monotonic() < begin + 9:
                assert status_of(worker, "/health") == 200
                time.sleep(0.5)
            kafka.start()
            until(lambda: status_of(worker, "/ready") == 200, worker, "ready again")
            run.send(rows[3_000:])
            until(lambda: worker.get("/api/status")["alerts"] > before, worker, "more alerts")
            assert status_of(worker, "/health") == 200
            assert "Traceback" not in worker.output and worker.output.count("\n") < 100, worker.output
            kafka.kill()
            begin = time.monotonic()
            assert worker.stop() in (0, 1), worker.output
            assert time.monotonic() - begin < 30
        kafka.start()
        run.finish()
        assert run.read("late") == []
        assert invoices(run) == Counter(row[1] for row in expected(rows))


@pytest.mark.timeout(90)
def test_sigterm_in_the_middle_of_work(embedded: Broker, tmp_path: Path) -> None:
    run, rows = Run(embedded, tmp_path, "stopped"), sale_rows(40_000, seed=7)
    run.send(rows)
    slow = {"worker.batch_rows": 200, "worker.flush_interval_ms": 20}
    with run.start(**slow) as worker:
        worker.wait_ready()
        until(lambda: worker.get("/api/status")["alerts"] > 10, worker, "alerts")
        lag = worker.get("/api/status")["lag"]
        begin = time.monotonic()
        assert worker.stop() == 0, worker.output
        assert time.monotonic() - begin < 20
        assert lag > 0, "it was not in the middle"
        assert "Traceback" not in worker.output
    run.finish()
    assert invoices(run) == Counter(row[1] for row in expected(rows))
