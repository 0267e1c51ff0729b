"""A topic that falls silent: one alert, one when records are back, also over restarts and with several workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sales_run import Broker, Run, sale_rows, until

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import WorkerProcess

pytestmark = pytest.mark.timeout(120)

AFTER_S = 2
SILENT = {"alerts.silence_after": f"1 h, sales = {AFTER_S} s"}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as broker:
        yield Broker(broker.bootstrap_servers, {}, lambda topic: broker.touch(topic))


def silences(run: Run) -> list[dict[str, Any]]:
    return [alert for alert in run.alerts() if alert["type"].startswith("silence")]


def types(run: Run) -> list[str]:
    return [alert["type"] for alert in silences(run)]


def told(run: Run, worker: WorkerProcess, *expected: str) -> None:
    until(lambda: types(run) == list(expected), worker, f"{expected}, not {types(run)}")


def stays(run: Run, *expected: str) -> None:
    """For longer than a silence takes to be told."""
    time.sleep(2 * AFTER_S)
    assert types(run) == list(expected)


@pytest.mark.parametrize("keyed", [True, False], ids=["direct", "repartitioned"])
def test_one_alert_a_silence_over_restarts(broker: Broker, tmp_path: Path, keyed: bool) -> None:
    run, rows = Run(broker, tmp_path, "silence", keyed=keyed), sale_rows(300, seed=4)
    run.send(rows[:100])
    with run.start(**SILENT) as worker:
        worker.wait_ready()
        told(run, worker, "silence")
        (alert,) = silences(run)
        assert (alert["key"], alert["severity"], alert["source"]["topic"]) == ({"table": "sales"}, "high", run.topic)
        until(lambda: worker.get("/api/alerts?limit=1")["alerts"][0]["id"] == alert["id"], worker, "on the page")
        stays(run, "silence")
        assert worker.stop() == 0
    with run.start(**SILENT) as worker:
        worker.wait_ready()
        stays(run, "silence")
        run.send(rows[100:200])
        told(run, worker, "silence", "silence_over")
        time.sleep(1)  # so that it has seen the last record
        worker.kill()
    time.sleep(AFTER_S)
    with run.start(**SILENT) as worker:
        worker.wait_ready()
        told(run, worker, "silence", "silence_over", "silence")
        run.send(rows[200:])
        told(run, worker, "silence", "silence_over", "silence", "silence_over")
        worker.kill()
    ids = [alert["id"] for alert in silences(run)]
    assert len(set(ids)) == 4


def test_several_workers_tell_it_once(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "silence-shared"), sale_rows(200, seed=4)
    run.send(rows[:100])
    settings = [{**SILENT, "worker.data_dir": tmp_path / state} for state in ("state-1", "state-2")]
    with run.start(**settings[0]) as one, run.start(**settings[1]) as two:
        for worker in (one, two):
            worker.wait_ready()
        until(lambda: all(w.get("/api/status")["partitions"] for w in (one, two)), one, "both have partitions")
        told(run, one, "silence")
        stays(run, "silence")
        one.kill()
        until(lambda: len(two.get("/api/status")["partitions"]) >= 8, two, "the other has all partitions")
        stays(run, "silence")
        run.send(rows[100:])
        told(run, two, "silence", "silence_over")
        two.kill()


def test_a_table_that_no_job_reads_is_named(broker: Broker, tmp_path: Path) -> None:
    run = Run(broker, tmp_path, "silence-name")
    with run.start(**{"alerts.silence_after": "sale = 5 s"}) as worker:
        assert worker.wait() == 2
        assert (
            "alerts.silence_after (from command line): no job reads a table 'sale'; did you mean 'sales'?"
            in worker.output
        )


def test_nothing_is_said_unless_asked_for_nor_by_a_bounded_run(broker: Broker, tmp_path: Path) -> None:
    run = Run(broker, tmp_path, "silence-off")
    run.send(sale_rows(100, seed=4))
    with run.start() as worker:
        worker.wait_ready()
        stays(run)
        assert worker.stop() == 0
    with run.start(**{"worker.bounded": "true", "alerts.silence_after": "1 ms"}) as worker:
        assert worker.wait() == 0, worker.output
    assert types(run) == []
