"""Several workers of one application, and where a worker begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sales_run import Broker, Run, expected, sale_rows, until

from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import WorkerProcess

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(kafka: ApacheKafka) -> Iterator[Broker]:
    yield Broker(kafka.bootstrap_servers, {}, lambda topic: kafka.create_topics({topic: 4}))


def sources(worker: WorkerProcess, run: Run) -> set[int]:
    """Source partitions of a worker."""
    status = worker.get("/api/status")
    return {p["partition"] for p in status["partitions"] if p["topic"] == run.topic} if status["ready"] else set()


@pytest.mark.timeout(120)
def test_two_workers_share_the_partitions_and_one_takes_over(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "shared"), sale_rows(9_000, seed=8)
    # Never idle: what a partition gets while nobody reads it would be late.
    own = {"worker.idle_timeout_s": 0}
    with (
        run.start(**own, **{"worker.data_dir": tmp_path / "one"}) as one,
        run.start(**own, **{"worker.data_dir": tmp_path / "two"}) as two,
    ):
        one.wait_ready()
        two.wait_ready()
        everything = set(range(4))

        def shared() -> bool:
            mine, other = sources(one, run), sources(two, run)
            return bool(mine) and bool(other) and mine | other == everything and not mine & other

        until(shared, two, "both have partitions")
        run.send(rows[:3_000])
        for worker in (one, two):
            until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "alerts of each")  # noqa: B023 (called at once)
        one.kill()
        run.send(rows[3_000:6_000])
        until(lambda: sources(two, run) == everything, two, "the other takes over")
        run.send(rows[6_000:])
        before = two.get("/api/status")["alerts"]
        until(lambda: two.get("/api/status")["alerts"] > before, two, "alerts of all")
        assert two.stop() == 0, two.output
        assert "Traceback" not in two.output
    run.settings |= {"worker.data_dir": tmp_path / "three"}
    run.finish()
    alerts = run.alerts()
    assert run.read("late") == run.read("dlq") == []
    assert Counter(alert["payload"]["invoice_id"] for alert in alerts) == Counter(row[1] for row in expected(rows))
    assert len({alert["id"] for alert in alerts}) == len(alerts) == len(run.read("unusual"))


@pytest.mark.timeout(90)
def test_latest_offset_skips_what_was_there_and_nothing_after_that(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "latest"), sale_rows(6_000, seed=9)
    run.send(rows[:2_000])
    latest = {"worker.startup": "latest-offset", "worker.idle_timeout_s": 0}
    with run.start(**latest) as worker:
        worker.wait_ready()
        assert worker.stop() == 0, worker.output
    run.send(rows[2_000:4_000])  # while it is down
    with run.start(**latest) as worker:
        worker.wait_ready()
        run.send(rows[4_000:])
        until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "alerts")
        worker.kill()
    run.settings |= latest
    run.finish()
    assert Counter(a["payload"]["invoice_id"] for a in run.alerts()) == Counter(r[1] for r in expected(rows[2_000:]))
    assert run.read("late") == []
