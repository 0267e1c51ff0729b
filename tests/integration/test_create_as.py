"""CREATE TABLE AS in a worker: a topic is made, filled and read by the next statement, as on Confluent Cloud."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_thread import ModelThread
from registry_thread import RegistryThread

from anomaly_app.formats.records import RecordEncoder
from anomaly_app.formats.registry import Registry
from anomaly_app.jobs.tables import bind_sink
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

pytestmark = pytest.mark.timeout(120)

TRANSACTIONS = """CREATE TABLE transactions (
    TransactionID INT NOT NULL, amount DOUBLE, event ROW<code STRING>,
    PRIMARY KEY (TransactionID) NOT ENFORCED
) WITH ('changelog.mode' = 'append')"""
JOB = """{transactions} -- the rest has no semicolons, either
CREATE TABLE large AS SELECT TransactionID, amount * 2 AS twice, event.* FROM transactions WHERE amount >= 10 -- scored
CREATE MODEL risk INPUT (id INT, v DOUBLE) OUTPUT (score DOUBLE) WITH (
    'provider' = 'azureml', 'azureml.connection' = 'risk') -- and kept
CREATE TABLE scored WITH ('value.format' = 'json') AS
SELECT * FROM large, LATERAL TABLE(ML_PREDICT('risk', TransactionID, twice))
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


def put(broker: EmbeddedBroker, url: str, count: int) -> None:
    (create,) = parse_statements(TRANSACTIONS)
    assert isinstance(create, CreateTable)

    async def main() -> None:
        registry = Registry(url)
        encoder = RecordEncoder(bind_sink(create, TRANSACTIONS, []), registry)
        await encoder.prepare()
        await registry.close()
        records = [encoder.encode((n, float(n), (f"c{n % 3}",))) for n in range(count)]
        await send(broker.bootstrap_servers, "transactions", [Sent(key, value) for key, value in records])

    asyncio.run(main())


def test_statements_of_confluent_from_topic_to_topic(broker: EmbeddedBroker, tmp_path: Path) -> None:
    broker.touch("transactions")
    job = tmp_path / "job.sql"
    job.write_text(JOB.format(transactions=TRANSACTIONS))
    with RegistryThread() as registry, ModelThread(key="k-1") as server:
        put(broker, registry.url, 100)
        settings: dict[str, Any] = {
            "kafka.bootstrap_servers": broker.bootstrap_servers, "registry.url": registry.url, "worker.app_id": "ctas",
            "worker.data_dir": tmp_path / "state", "connections.risk.endpoint": server.url,
            "connections.risk.api_key": "k-1",
        }  # fmt: skip
        with WorkerProcess(settings, job) as worker:
            worker.wait_ready()
            deadline = time.monotonic() + 40
            while len(found := asyncio.run(read(broker.bootstrap_servers, "scored"))) < 90:
                assert time.monotonic() < deadline, f"{len(found)} rows:\n{worker.output}"
                time.sleep(0.2)
            assert worker.stop() == 0
    rows = sorted((json.loads(record.value) for record in found), key=lambda row: row["TransactionID"])
    assert rows == [
        {"TransactionID": n, "twice": 2.0 * n, "code": f"c{n % 3}", "score": 3.0 * n} for n in range(10, 100)
    ]  # fmt: skip
    between = asyncio.run(read(broker.bootstrap_servers, "large"))
    assert len(between) == 90
    assert all(record.value[:1] == b"\0" and record.key is None for record in between), "Avro of the registry"
