"""The retail tutorial up to its dashboard: events, the three job files, alerts, InfluxDB, Grafana's queries."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dashboards import GRAFANA, filled, load, queries, variables
from monitoring_programs import influxdb

from anomaly_app.alerts import Alert
from anomaly_app.cli import main
from anomaly_app.delivery.notification import Incoming
from anomaly_app.generators.retail import TOPICS
from anomaly_app.settings import load_settings
from anomaly_app.sinks.influxdb import Influxdb
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.influxdb import InfluxDB
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.worker import WorkerProcess, read

__all__ = ["influxdb"]

DATABASE = "alerts"
PACK = resources.files("anomaly_app").joinpath("jobs/retail")
TOTALS = {
    "Total Refund": "REFUND_PATTERN",
    "Total Shrinkage": "SHRINKAGE",
    "Total Security Correlation": "SECURITY_CORRELATION",
}
TABLES = {"Refunds": "REFUND_PATTERN", "Shrinkage": "SHRINKAGE", "Security": "SECURITY_CORRELATION"}


def generate(servers: str, begin: datetime) -> None:
    start = begin.strftime("%Y-%m-%d %H:%M:%S")
    options = ["--records", "8000", "--rate", "0", "--rare", "0.02", "--start", start]
    assert main(["generate", "retail", *options, "--broker", servers, "--partitions", "2"]) == 0


def alerts_of_worker(servers: str, folder: Path) -> list[Any]:
    settings = {
        "kafka.bootstrap_servers": servers,
        "worker.app_id": "retail",
        "worker.data_dir": folder / "state",
        "worker.bounded": "true",
        "worker.idle_timeout_s": 1,
    }
    jobs = [Path(str(PACK.joinpath(name))) for name in ("refunds.sql", "gates.sql", "shrinkage.sql")]
    with WorkerProcess(settings, *jobs) as worker:
        assert worker.wait(120) == 0, worker.output
    return asyncio.run(read(servers, "anomaly.alerts"))


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def servers(request: pytest.FixtureRequest) -> Iterator[str]:
    """A broker for this alone: the job files name their topics."""
    topics = (*TOPICS, "anomaly-alerts", "anomaly.alerts")
    if request.param == "embedded":
        with EmbeddedBroker() as broker:
            broker.touch(*topics)
            yield broker.bootstrap_servers
        return
    if problem := missing_tools():
        pytest.skip(problem)
    with ApacheKafka() as kafka:
        kafka.create_topics(dict.fromkeys(topics, 2))
        yield kafka.bootstrap_servers


@pytest.mark.timeout(300)
def test_the_three_totals_and_tables_show_what_the_job_files_found(
    influxdb: InfluxDB, servers: str, tmp_path: Path
) -> None:
    influxdb.execute(f'DROP DATABASE "{DATABASE}"; CREATE DATABASE "{DATABASE}"')
    begin = time.time() - 7_200
    generate(servers, datetime.fromtimestamp(begin, UTC))
    records = alerts_of_worker(servers, tmp_path)
    found = [json.loads(record.value) for record in records]
    kinds = Counter(alert["payload"]["type"] for alert in found)
    assert set(kinds) == set(TOTALS.values()) and min(kinds.values()) >= 2

    async def deliver() -> None:
        settings = load_settings(config_file=GRAFANA.parent / "anomaly.toml", environ={}).settings.delivery
        (receiver,) = [one for one in settings.receivers if one.influxdb]
        sink = Influxdb(receiver.influxdb[0].model_copy(update={"url": influxdb.url}))
        alerts = [
            Incoming(msgspec.json.decode(record.value, type=Alert), record.value, record.partition, record.offset)
            for record in records
        ]
        assert list(await sink.write(alerts, 0)) == []
        await sink.close()

    asyncio.run(deliver())
    file = GRAFANA / "dashboards/retail.json"
    text = {query.title: query.text for query in queries(file)}
    span = f"time >= {int(begin * 1_000)}ms AND time <= {int((begin + 14_400) * 1_000)}ms"

    def ask(title: str, **values: str) -> list[dict[str, Any]]:
        return influxdb.query(DATABASE, filled(text[title], values, time_filter=span, interval="1m"))

    assert {kind: ask(title)[0]["sum"] for title, kind in TOTALS.items()} == kinds
    for title, kind in TABLES.items():
        rows = ask(title)
        wanted = [alert["payload"] for alert in found if alert["payload"]["type"] == kind]
        columns = ("message", "storeId", "riskScore")
        assert Counter(tuple(row[name] for name in columns) for row in rows) == Counter(
            tuple(alert[name] for name in columns) for alert in wanted
        )
    stores = {alert["payload"]["storeId"] for alert in found}
    assert {row["value"] for row in influxdb.query(DATABASE, variables(load(file))["store"])} == stores
    for store in stores:
        narrowed = Counter(alert["payload"]["type"] for alert in found if alert["payload"]["storeId"] == store)
        shown = {kind: ask(title, store=store) for title, kind in TOTALS.items()}
        assert {kind: rows[0]["sum"] for kind, rows in shown.items() if rows} == narrowed
