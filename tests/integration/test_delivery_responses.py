"""Responses as delivery does them: an account is frozen, somebody is told and acknowledges, or others are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_run import DeliveryRun, alerts_of, ask, until

from anomaly_app.testing.broker import ALONE_MS, EmbeddedBroker
from anomaly_app.testing.receivers import DIE, FailingReceiver, error, in_thread

pytestmark = pytest.mark.timeout(120)

SETTINGS = """
link = "http://127.0.0.1:1/"
signing_key = "k-1"

[delivery.route]
receiver = "quiet"

[[delivery.receivers]]
name = "quiet"
[[delivery.receivers]]
name = "ops"
[[delivery.receivers.webhook]]
url = "{url}/ops"
[[delivery.receivers]]
name = "lead"
[[delivery.receivers.webhook]]
url = "{url}/lead"

[[response]]
name = "freeze"
matchers = ["user_id=~user-.*"]
dry_run = false
[[response.steps]]
http = "{url}/accounts/{{{{ alert.key.user_id }}}}/freeze"
[[response.steps]]
notify = "ops"
[[response.steps]]
wait_for_ack = "{patience}"
[[response.steps]]
escalate = "lead"
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(rebalance_delay_ms=ALONE_MS) as broker:
        yield broker


@pytest.fixture
def receiver() -> Iterator[FailingReceiver]:
    with in_thread(FailingReceiver()) as receiver:
        yield receiver


def events(run: DeliveryRun, alert: str) -> list[tuple[str, str]]:
    records = {record["id"]: record for record in (json.loads(one.value) for one in run.read("responses"))}
    return [(record["kind"], record["event"]) for record in records.values() if record["alert"] == alert]


def test_a_response_over_kills_until_somebody_acknowledges_by_the_link(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    settings = SETTINGS.format(url=receiver.url, patience="1h")
    run = DeliveryRun(broker.bootstrap_servers, tmp_path, "freeze", settings, broker.touch)
    freeze, ops = receiver["/accounts/user-0/freeze"], receiver["/ops"]
    freeze.plan(error(503), DIE)
    (alert,) = alerts_of(1)
    with run.start() as process:
        process.wait_ready()
        run.send([alert])
        until(lambda: freeze.requests, process, "the first call")
        process.kill()
    with run.start() as process:
        until(lambda: ops.kept, process, "a notification", 60)
        assert len(freeze.kept) == 1, "called again under its key"
        ((_, told),) = ops.kept.items()
        text = told.json()["commonAnnotations"]["text"]
        link = re.search(r"http://127.0.0.1:1/(ack/\S+)", text)
        assert link is not None, text
        url = f"http://127.0.0.1:{process.port}/{link[1]}"
        assert "<button" in ask(url)[1] and ask(url, "POST", b"")[0] == 200
        until(lambda: ("run", "ended") in events(run, alert.id), process, "the end")
        assert process.stop() == 0
    assert Counter(events(run, alert.id)) == Counter(
        [
            ("run", "started"), ("http", "begun"), ("http", "done"), ("notify", "begun"), ("notify", "done"),
            ("wait_for_ack", "begun"), ("run", "acknowledged"), ("run", "ended"),
        ]
    )  # fmt: skip
    assert not receiver["/lead"].requests and not ops.doubles


def test_a_response_that_nobody_acknowledges_escalates(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    settings = SETTINGS.format(url=receiver.url, patience="1s")
    run = DeliveryRun(broker.bootstrap_servers, tmp_path, "escalate", settings, broker.touch)
    receiver["/accounts/user-0/freeze"].always = error(400, "no such account")
    (alert,) = alerts_of(1)
    with run.start() as process:
        process.wait_ready()
        run.send([alert])
        until(lambda: receiver["/lead"].kept, process, "the lead is told", 60)
        until(lambda: ("run", "ended") in events(run, alert.id), process, "the end")
        status, metrics = ask(f"http://127.0.0.1:{process.port}/metrics")
        assert status == 200 and 'anomaly_responses_total{fate="started"} 1.0' in metrics
    assert ("http", "failed") in events(run, alert.id) and ("wait_for_ack", "timed_out") in events(run, alert.id)
