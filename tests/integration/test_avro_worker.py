"""The packaged job, word for word: generated sales as Avro in, CSV rows in the sink, as ``query`` gives them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from registry_thread import RegistryThread
from sales_run import as_csv, csv_time, iso

from anomaly_app import Rows, query
from anomaly_app.generators import sales
from anomaly_app.generators.encode import RegistryAccess, create_encoder
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

JOB = files("anomaly_app.jobs").joinpath("unusual_sales.sql").read_text("utf-8")
COLUMNS = ("invoice_id", "user_id", "product_id", "quantity", "unit_cost")
SINK = "flink.unusual.sales.records.interactive"
START = 1_760_000_000_000


@dataclass
class World:
    servers: str
    registry: str
    settings: dict[str, object]


@pytest.fixture(params=["embedded", pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.registry])])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    generator = sales()
    if request.param == "embedded":
        with EmbeddedBroker(generator.topic) as broker, RegistryThread() as registry:
            yield World(broker.bootstrap_servers, registry.url, {})
        return
    problem = missing_tools()
    if problem:
        pytest.skip(problem)
    from anomaly_app.testing.apicurio import Apicurio

    # A node of its own: the job names its topics, and others may use them too.
    with ApacheKafka() as kafka, Apicurio() as apicurio:
        kafka.create_topics({generator.topic: 4})
        yield World(kafka.bootstrap_servers, apicurio.url, {})


@pytest.mark.timeout(120)
def test_the_packaged_job_on_avro(world: World, tmp_path: Path) -> None:
    generator = sales(rare=0.02)
    records = list(generator.records(seed=11, count=4_000, start_ms=START, rate=100))
    encode = create_encoder(generator, "avro", RegistryAccess(world.registry))
    sent = [Sent(record.key.encode(), encode(record.value), record.timestamp_ms) for record in records]
    asyncio.run(send(world.servers, generator.topic, sent))
    settings = {
        "kafka.bootstrap_servers": world.servers,
        "registry.url": world.registry,
        "worker.app_id": "packaged",
        "worker.data_dir": tmp_path / "state",
        "worker.startup": "earliest-offset",
        "worker.bounded": "true",
        "worker.idle_timeout_s": 1,
        **world.settings,
    }
    with WorkerProcess(settings) as worker:
        assert worker.wait() == 0, worker.output
    table = Rows(
        columns=[*((name, "STRING") for name in COLUMNS), ("purchase_time", "TIMESTAMP(3)")],
        rows=[(*(record.value[name] for name in COLUMNS), iso(record.timestamp_ms)) for record in records],
        rowtime="purchase_time",
        watermark_delay_ms=1_000,
    )
    select = JOB[JOB.index("SELECT *") :].rstrip().removesuffix(";")
    want = query(select, tables={"SalesRecordTable": table}).rows
    assert len(want) > 40
    results = asyncio.run(read(world.servers, SINK))
    assert Counter(record.value.decode() for record in results) == Counter(map(as_csv, want))
    assert all(record.key.decode() == record.value.decode().partition(",")[0] for record in results)
    for topic in (f"{generator.topic}.dlq", f"{generator.topic}.late"):
        assert asyncio.run(read(world.servers, topic)) == []
    # The form of the tutorial: user, invoice, quantity, then the time in quotes.
    user, invoice, quantity, at = want[0][:4]
    assert any(r.value.decode().startswith(f"{user},{invoice},{quantity},{csv_time(at)},") for r in results)
