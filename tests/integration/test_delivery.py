"""``anomaly deliver`` as a process: alerts to receivers, silences, acknowledgements, standby."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_run import DeliveryRun, alerts_of, ask, told_ids, until

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.receivers import FailingReceiver, in_thread
from anomaly_app.testing.worker import WorkerProcess

pytestmark = pytest.mark.timeout(180)

WEBHOOK = """
[delivery.route]
receiver = "ops"
group_by = ["user_id"]
group_wait = "100ms"
group_interval = "300ms"

[[delivery.receivers]]
name = "ops"
[[delivery.receivers.webhook]]
url = "{url}/ops/token-7f3a9c"
form = "alert"
"""
SECRET = "token-7f3a9c"


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def receiver() -> Iterator[FailingReceiver]:
    with in_thread(FailingReceiver()) as receiver:
        yield receiver


def webhook_run(
    broker: EmbeddedBroker, receiver: FailingReceiver, folder: Path, name: str, more: str = ""
) -> DeliveryRun:
    settings = more + WEBHOOK.format(url=receiver.url)
    return DeliveryRun(broker.bootstrap_servers, folder, name, settings, broker.touch)


def metric(process: WorkerProcess, name: str) -> float:
    """The value of a metric with its labels as they stand in the text; 0 if it is not there."""
    status, text = ask(f"http://127.0.0.1:{process.port}/metrics")
    assert status == 200
    for line in str(text).splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def test_every_alert_is_told_once_and_a_restart_tells_nothing_again(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    run = webhook_run(broker, receiver, tmp_path, "once")
    alerts = alerts_of(40, users=40)
    box = receiver[f"/ops/{SECRET}"]
    with run.start() as process:
        process.wait_ready()
        run.send(alerts[:30])
        until(lambda: len(told_ids(box.taken)) == 30, process, "30 alerts")
        assert metric(process, 'anomaly_notifications_total{outcome="sent",receiver="ops",sink="webhook"}') == len(
            box.taken
        )
        assert metric(process, 'anomaly_count_total{job="unusual_transactions",severity="high",tenant=""}') == 30
        begin = time.monotonic()
        process.process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert time.monotonic() - begin < 6
    with run.start() as process:
        process.wait_ready()
        run.send(alerts[30:])
        until(lambda: len(told_ids(box.taken)) == 40, process, "10 more")
    assert told_ids(box.taken) == Counter(alert.id for alert in alerts)
    assert not box.doubles
