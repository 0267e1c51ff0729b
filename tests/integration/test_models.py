"""Workers that ask models: a model server that fails, hangs and dies, and workers that are killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_run import RISKY, SCORED, TABLES, killed, put, records, score, scrape, settings, until
from model_thread import ModelThread

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import WorkerProcess, read

pytestmark = pytest.mark.timeout(240)  # a killed worker is a member of its group for a while


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


def test_scores_alerts_with_the_version_and_metrics(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, job = "paid", tmp_path / "job.sql"
    broker.touch(topic)
    options = "'max_parallelism' = '20'"
    job.write_text(TABLES.format(topic=topic, options=options) + SCORED + RISKY)
    put(broker.bootstrap_servers, topic, 0, 800)
    with ModelThread(score, key="k-1", latency_ms=5) as server:
        with WorkerProcess(
            settings(broker.bootstrap_servers, topic, tmp_path, server.url), job, options=["--bounded"]
        ) as worker:
            assert worker.wait(90) == 0, worker.output
        found = records(broker.bootstrap_servers, f"{topic}-scored")
        assert sorted((one["id"], one["score"]) for one in found) == [
            (n, n * 1.5) for n in range(800) if n % 50 != 7
        ]  # fmt: skip
        alerts = records(broker.bootstrap_servers, f"{topic}-alerts")
        assert sorted(one["payload"]["id"] for one in alerts) == [n for n in range(601, 800) if n % 50 != 7]
        assert {json.dumps(one["models"]) for one in alerts} == {'{"risk": 1}'}
        letters = asyncio.run(read(broker.bootstrap_servers, f"{topic}.dlq"))
        assert sorted(json.loads(record.value)["id"] for record in letters) == sorted(
            [n for n in range(7, 800, 50)] * 2
        )
        reasons = {dict(record.headers)["anomaly-error"].decode() for record in letters}
        assert all("'no idea' is no DOUBLE; the answer begins '[" in reason for reason in reasons), reasons


def test_metrics_of_a_worker_that_goes_on(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, job = "measured", tmp_path / "job.sql"
    broker.touch(topic)
    job.write_text(TABLES.format(topic=topic, options="'task' = 'regression'") + SCORED)
    put(broker.bootstrap_servers, topic, 0, 7)
    with (
        ModelThread(score, key="k-1") as server,
        WorkerProcess(settings(broker.bootstrap_servers, topic, tmp_path, server.url), job) as worker,
    ):
        worker.wait_ready()
        until(lambda: len(records(broker.bootstrap_servers, f"{topic}-scored")) == 7, worker, "scores")
        text = scrape(worker)
        assert 'anomaly_model_rows_total{job="job",model="risk",version="1"} 7.0' in text
        assert 'anomaly_model_call_seconds_count{job="job",model="risk",version="1"}' in text
        assert 'anomaly_model_circuit_open{job="job",model="risk",version="1"} 0.0' in text
        (job_status,) = worker.get("/api/jobs")["jobs"]
        assert job_status["models"][0]["rows"] == 7
        assert "k-1" not in worker.output


def test_killed_workers_and_a_model_that_fails_hangs_and_dies(broker: EmbeddedBroker, tmp_path: Path) -> None:
    broker.touch("killed")
    again = killed(broker.bootstrap_servers, "killed", tmp_path, rounds=3, count=6_000)
    # What was answered and stored is not asked again; what was under way at a kill is.
    assert again < 600


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_ten_rounds_on_apache_kafka(kafka: ApacheKafka, tmp_path: Path) -> None:
    kafka.create_topics({"models": 4, "models-scored": 3})
    assert killed(kafka.bootstrap_servers, "models", tmp_path, rounds=10, count=10_000) < 2_000
