"""Delivery killed with -9 at random moments: nothing is lost, nothing told twice to who keeps ids, files are whole."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest
from delivery_run import DeliveryRun, alerts_of, told_ids, until

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.receivers import DIE, HALF, Behaviour, FailingReceiver, error, in_thread
from anomaly_app.testing.worker import WorkerProcess

# Each alert is over at once, so that no notification shows it beside others again.
SETTINGS = """
tenant = "north"
hold = "1ms"
max_alerts = 400

[delivery.route]
receiver = "ops"
group_by = ["bucket"]
group_wait = "50ms"
group_interval = "200ms"
[[delivery.route.routes]]
receiver = "centre"
matchers = ["tenant=north"]
continue = true
[[delivery.route.routes]]
receiver = "metrics"
matchers = ["job=~.+"]
continue = true
[[delivery.route.routes]]
receiver = "ops"

[[delivery.receivers]]
name = "ops"
[[delivery.receivers.webhook]]
url = "{url}/ops"
form = "alert"

[[delivery.receivers]]
name = "centre"
[[delivery.receivers.kafka]]
topic = "{centre}"

[[delivery.receivers]]
name = "metrics"
[[delivery.receivers.influxdb]]
url = "{url}"
fields = ["number"]
batch_wait = "100ms"

[[delivery.archive]]
name = "files"
path = "{files}"
roll_after = "1s"
"""


class Kept:
    """What has arrived where, by the numbers of alerts."""

    def __init__(self, run: DeliveryRun, receiver: FailingReceiver, centre: str, files: Path) -> None:
        self._run, self._receiver, self._centre, self._files = run, receiver, centre, files

    def webhook(self) -> Counter[str]:
        return told_ids(list(self._receiver["/ops"].kept.values()))

    def topic(self) -> Counter[str]:
        records = self._run.read(self._centre)
        assert all(("tenant", b"north") in record.headers for record in records)
        return Counter(json.loads(record.value)["id"] for record in records)

    def points(self) -> set[int]:
        lines = b"\n".join(
            request.body for request in list(self._receiver["/write"].requests) if request.taken
        ).decode()
        return {int(float(number)) for number in re.findall(r"[ ,]number=([0-9.]+)", lines)}

    def archive(self) -> Counter[str]:
        ids: Counter[str] = Counter()
        for path in self._files.rglob("*.parquet"):
            ids.update(pyarrow.parquet.read_table(path, partitioning=None)["id"].to_pylist())
        return ids


def sometimes(draw: random.Random) -> Behaviour | None:
    """One request in six fails in some way."""
    failures = (error(500), error(429, retry_after="0"), HALF, DIE)
    return draw.choice(failures) if draw.random() < 1 / 6 else None


def killed_again_and_again(run: DeliveryRun, kept: Kept, alerts: int, kills: int, draw: random.Random) -> WorkerProcess:
    """Send alerts and kill the process meanwhile; the one that lives at last."""
    sent = alerts_of(alerts, users=alerts, buckets=50)
    each = alerts // kills
    for number in range(kills):
        with run.start() as process:
            run.send(sent[number * each : (number + 1) * each])
            if number % 4:  # else it is killed while it starts, or joins its group, or reads its state
                until(lambda: (process.get("/api/status") or {}).get("lag") is not None, process, "active", 60)
                time.sleep(draw.uniform(0, 4))
            else:
                time.sleep(draw.uniform(0.5, 8))
            process.kill()
    return run.start()


def arrived(kept: Kept) -> dict[str, int]:
    counts = {"webhook": kept.webhook(), "archive": kept.archive(), "topic": kept.topic()}
    return {name: len(counter) for name, counter in counts.items()} | {"points": len(kept.points())}


def check(run: DeliveryRun, kept: Kept, process: WorkerProcess, alerts: int) -> None:
    process.wait_ready(90)  # all may have arrived before it begins, and it could not end in order
    deadline = time.monotonic() + 150
    while set(arrived(kept).values()) != {alerts} and time.monotonic() < deadline:
        time.sleep(1)
    status = process.get("/api/status")
    assert set(arrived(kept).values()) == {alerts}, f"{arrived(kept)}\n{status}\n{process.output}"
    assert process.stop() == 0, process.output
    once = Counter({alert.id: 1 for alert in alerts_of(alerts)})
    assert kept.webhook() == once, "each once at a receiver that keeps ids"
    assert kept.archive() == once, "each in one file"
    assert set(kept.topic()) == set(once)
    assert kept.points() == set(range(alerts))
    assert run.read("undelivered") == []


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_twenty_kills_while_5000_alerts_flow_to_four_receivers(kafka: ApacheKafka, tmp_path: Path) -> None:
    draw = random.Random(4)
    with in_thread(FailingReceiver(choose=lambda *_: sometimes(draw))) as receiver:
        centre, files = f"centre-{time.time_ns()}", tmp_path / "files"
        kafka.create_topics({centre: 2})
        settings = SETTINGS.format(url=receiver.url, centre=centre, files=files)
        run = DeliveryRun(kafka.bootstrap_servers, tmp_path, "killed", settings)
        kafka.create_topics({run.alerts: 3})
        kept = Kept(run, receiver, centre, files)
        with killed_again_and_again(run, kept, 5_000, 20, random.Random(7)) as process:
            check(run, kept, process, 5_000)


@pytest.mark.timeout(300)
def test_kills_on_the_embedded_broker(tmp_path: Path) -> None:
    # It keeps the last 5 MB of a partition only, so that the state must stay small.
    draw = random.Random(13)
    with EmbeddedBroker() as broker, in_thread(FailingReceiver(choose=lambda *_: sometimes(draw))) as receiver:
        centre, files = f"centre-{time.time_ns()}", tmp_path / "files"
        broker.touch(centre)
        settings = SETTINGS.format(url=receiver.url, centre=centre, files=files)
        run = DeliveryRun(broker.bootstrap_servers, tmp_path, "killed", settings, broker.touch)
        kept = Kept(run, receiver, centre, files)
        with killed_again_and_again(run, kept, 600, 4, random.Random(1)) as process:
            check(run, kept, process, 600)
