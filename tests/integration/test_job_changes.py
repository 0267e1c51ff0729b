"""A job file is edited between two runs: the worker goes on where it was, with what its state is still good for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sales_run import Broker, Run, sale_rows, until

from anomaly_app.testing.broker import EmbeddedBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, {"kafka.embedded": "true"}, lambda topic: embedded.touch(topic))


def test_a_job_that_reads_other_columns_than_before(broker: Broker, tmp_path: Path) -> None:
    # Without WITHIN rows are stored, in the layout of then.
    run, rows = Run(broker, tmp_path, "edited", keyed=True, within=""), sale_rows(4_000, seed=12)
    run.send(rows[:2_000])
    with run.start() as worker:
        worker.wait_ready()
        until(lambda: worker.get("/api/status")["alerts"] > 10, worker, "alerts")
        assert worker.stop() == 0, worker.output
    before = {alert["id"] for alert in run.alerts()}
    job = run.job.read_text()
    edited = job.replace("invoice_id STRING, quantity", "shop STRING, invoice_id STRING, quantity")
    run.job.write_text(edited.replace("DEFINE U AS U.quantity", "DEFINE U AS U.shop IS NULL AND U.quantity", 1))
    run.send(rows[2_000:])
    with run.start(**{"worker.bounded": "true"}) as worker:
        assert worker.wait() == 0, worker.output
        assert "Traceback" not in worker.output
    invoices, quantities = {row[1] for row in rows}, {row[1]: row[2] for row in rows}
    after = [alert for alert in run.alerts() if alert["id"] not in before]
    assert len(after) > 20 and run.read("dlq") == []
    for alert in after:
        assert alert["payload"]["invoice_id"] in invoices
        assert quantities[alert["payload"]["invoice_id"]] == alert["payload"]["qty"]
