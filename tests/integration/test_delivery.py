"""``anomaly deliver`` as a process: alerts to receivers, silences, acknowledgements, standby."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from delivery_run import DeliveryRun, alerts_of, ask, told_ids, until

from anomaly_app.alerts import encode
from anomaly_app.delivery.acks import ack_link
from anomaly_app.testing.broker import ALONE_MS, EmbeddedBroker
from anomaly_app.testing.receivers import DIE, HALF, HANG, TAKE, FailingReceiver, error, in_thread
from anomaly_app.testing.worker import WorkerProcess

pytestmark = pytest.mark.timeout(180)

SECRET = "token-7f3a9c"
"""Part of the addresses of receivers, as it is of Slack's."""
ROUTE = """
[delivery.route]
receiver = "ops"
group_by = ["user_id"]
group_wait = "100ms"
group_interval = "300ms"
"""
WEBHOOK = """
[[delivery.receivers]]
name = "{name}"
[[delivery.receivers.webhook]]
url = "{url}/{name}/token-7f3a9c"
form = "alert"
timeout = "2s"
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(rebalance_delay_ms=ALONE_MS) as broker:
        yield broker


@pytest.fixture
def receiver() -> Iterator[FailingReceiver]:
    with in_thread(FailingReceiver()) as receiver:
        yield receiver


class Ops(DeliveryRun):
    """A delivery with the receiver ``ops``, which is told by webhook."""

    def __init__(
        self, broker: EmbeddedBroker, receiver: FailingReceiver, folder: Path, name: str, *, more: str = "",
        route: str = ROUTE, tables: str = "",
    ) -> None:  # fmt: skip
        settings = more + route + WEBHOOK.format(url=receiver.url, name="ops") + tables
        super().__init__(broker.bootstrap_servers, folder, name, settings, broker.touch)
        self.box = receiver[f"/ops/{SECRET}"]

    def told(self) -> Counter[str]:
        """Ids of alerts that the receiver has taken, each as often as it was told."""
        return told_ids(list(self.box.kept.values()))


def metric(process: WorkerProcess, name: str) -> float:
    """The value of a metric with its labels as they stand in the text; 0 if it is not there."""
    status, text = ask(f"http://127.0.0.1:{process.port}/metrics")
    assert status == 200
    for line in str(text).splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def active(process: WorkerProcess) -> bool:
    status = process.get("/api/status")
    return status is not None and status["state"] == "active" and status["ready"]


def anomaly(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_")}
    return subprocess.run(
        [sys.executable, "-m", "anomaly_app.cli", *arguments],
        capture_output=True, text=True, timeout=60, cwd=folder, stdin=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def test_every_alert_is_told_once_and_a_restart_tells_nothing_again(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    run, alerts = Ops(broker, receiver, tmp_path, "once"), alerts_of(40, users=40)
    with run.start() as process:
        process.wait_ready()
        run.send(alerts[:30])
        until(lambda: len(run.told()) == 30, process, "30 alerts")
        sent = 'anomaly_notifications_total{outcome="sent",receiver="ops",sink="webhook"}'
        until(lambda: metric(process, sent) == len(run.box.taken), process, "the metric")
        assert metric(process, 'anomaly_count_total{job="unusual_transactions",severity="high",tenant=""}') == 30
        assert metric(process, 'anomaly_amount_count{severity="high"}') == 30
        begin = time.monotonic()
        process.process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0, process.output
        assert time.monotonic() - begin < 15
    with run.start() as process:
        process.wait_ready()
        run.send(alerts[30:])
        until(lambda: len(run.told()) == 40, process, "10 more")
        status = process.get("/api/status")
        assert status["group_count"] == 40 and status["lag"] == 0
    assert run.told() == Counter(alert.id for alert in alerts)
    assert not run.box.doubles


def test_a_receiver_that_fails_in_every_way_gets_everything_once_it_works(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    run, alerts = Ops(broker, receiver, tmp_path, "failing"), alerts_of(12, users=12)
    # Five in a row open the circuit breaker; more would only be waited for.
    five = (error(500), error(500), HALF, HANG, error(503))
    run.box.plan(*five, TAKE, error(429, retry_after="1"), DIE, DIE, TAKE, error(503), error(500))
    with run.start() as process:
        process.wait_ready()
        run.send(alerts)
        until(lambda: len(run.told()) == 12, process, "all alerts", 60)
        until(lambda: process.get("/api/receivers")["receivers"][0]["outstanding"] == 0, process, "nothing waits")
        (way,) = process.get("/api/receivers")["receivers"]
        assert way["up"] and not way["problem"] and way["failed"] >= 7
    assert run.told() == Counter(alert.id for alert in alerts)
    assert run.box.doubles.total() == 2, "what dies after it has taken is sent again, with the same key"
    assert run.read("undelivered") == []


def test_what_is_refused_or_given_up_is_a_dead_letter_and_counted(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    patience = 'give_up_after = "2s"\n'
    run = Ops(broker, receiver, tmp_path, "letters", tables=patience)
    run.box.plan(error(400, body="no such field"))
    run.box.always = error(503)
    alerts = alerts_of(3, users=3)
    with run.start() as process:
        process.wait_ready()
        run.send(alerts)
        until(lambda: len(run.read("undelivered")) == 3, process, "dead letters", 60)
        gave_up = 'anomaly_notifications_total{outcome="gave_up",receiver="ops",sink="webhook"}'
        until(lambda: metric(process, gave_up) == 3, process, "the metric")
        assert metric(process, 'anomaly_receiver_up{receiver="ops",sink="webhook"}') == 0
        # The fate of an alert is settled at the next turn after its dead letter is stored.
        until(lambda: metric(process, 'anomaly_delivery_alerts_total{fate="gave_up"}') == 3, process, "the fates")
        assert process.stop() == 0
    letters = [json.loads(record.value) for record in run.read("undelivered")]
    told = {alert["alert"]["id"] for letter in letters for alert in letter["notification"]["alerts"]}
    assert told == {alert.id for alert in alerts}
    assert {letter["way"] for letter in letters} == {"ops/webhook/0"}
    assert any("answer 400: no such field" in letter["reason"] for letter in letters)
    assert sum("given up after 2 seconds" in letter["reason"] for letter in letters) == 2


def test_a_record_that_is_no_alert_is_a_dead_letter_once(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    run = Ops(broker, receiver, tmp_path, "unreadable")
    (good,) = alerts_of(1)
    run.send_raw([b'{"id": 1}', b"\xff"])
    for _ in range(2):
        with run.start() as process:
            process.wait_ready()
            until(lambda: active(process), process, "active")
            until(lambda: process.get("/api/status")["lag"] == 0, process, "read")
            assert process.stop() == 0
    run.send([good])
    with run.start() as process:
        until(lambda: run.told() == Counter([good.id]), process, "the good one")
    letters = [json.loads(record.value) for record in run.read("undelivered")]
    assert len(letters) == 2 and all(letter["reason"].startswith("this is no alert") for letter in letters)


def test_a_dead_receiver_delays_nobody(broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path) -> None:
    tables = (
        WEBHOOK.format(url=receiver.url, name="dead")
        + """
[[delivery.receivers]]
name = "gone"
[[delivery.receivers.kafka]]
bootstrap_servers = "127.0.0.1:1"
topic = "nowhere"
"""
    )
    route = ROUTE + "".join(
        f'[[delivery.route.routes]]\nreceiver = "{name}"\nmatchers = ["job!=nothing"]\ncontinue = true\n'
        for name in ("dead", "gone", "ops")
    )
    run = Ops(broker, receiver, tmp_path, "dead", route=route, tables=tables)
    receiver[f"/dead/{SECRET}"].always = HANG
    with run.start() as process:
        process.wait_ready()
        run.send(alerts_of(50, users=50))
        until(lambda: len(run.told()) == 50, process, "all alerts at the one that lives")
        ways = {way["receiver"]: way for way in process.get("/api/receivers")["receivers"]}
        assert ways["dead"]["outstanding"] == 50 and ways["ops"]["outstanding"] == 0
        until(
            lambda: metric(process, 'anomaly_receiver_up{receiver="dead",sink="webhook"}') == 0, process, "it is told"
        )
        assert metric(process, 'anomaly_outbox{receiver="dead"}') == 50
        begin = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - begin < 15, "nor the end"


def test_a_silence_by_command_is_followed_by_all_and_ends_in_time(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    run = Ops(broker, receiver, tmp_path, "silence")
    config = ("--config", str(run.config))
    added = anomaly("silence", "add", "user_id=user-1", "--for", "1h", "--comment", "moves", *config, folder=tmp_path)
    assert added.returncode == 0, added.stderr
    id_ = added.stdout.strip()
    with run.start() as one, run.start() as two:
        one.wait_ready()
        until(lambda: active(one) or active(two), one, "one is active")
        run.send(alerts_of(3, users=3))
        until(lambda: len(run.told()) == 2, one, "two alerts")
        for process in (one, two):
            (shown,) = process.get("/api/silences")["silences"]
            assert (shown["id"], shown["matchers"], shown["state"]) == (id_, ["user_id=user-1"], "active")
        listed = anomaly("silence", "list", "--json", *config, folder=tmp_path)
        assert [silence["id"] for silence in json.loads(listed.stdout)] == [id_]
        ended = anomaly("silence", "expire", id_, *config, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        # It still comes, so nobody waits for the next one.
        until(lambda: len(run.told()) == 3, one, "the third at once", 10)
        assert all(process.get("/api/silences")["silences"][0]["state"] == "expired" for process in (one, two))
    again = anomaly("silence", "expire", id_, *config, folder=tmp_path)
    assert again.returncode == 2 and "there is no silence" in again.stderr
    wrong = anomaly("silence", "add", "user_id~=1", "--for", "1h", "--comment", "x", *config, folder=tmp_path)
    assert wrong.returncode == 2 and "user_id~=1" in wrong.stderr and "Traceback" not in wrong.stderr


def test_silences_and_acknowledgements_by_the_api(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    more = 'signing_key = "k-1"\nlink = "http://127.0.0.1/"\n'
    run = Ops(broker, receiver, tmp_path, "api", more=more)
    (alert,) = alerts_of(1)
    with run.start() as process:
        until(lambda: active(process), process, "active")
        url = f"http://127.0.0.1:{process.port}"
        body: dict[str, Any] = {"matchers": ["user_id=user-9"], "duration": "30m", "created_by": "ann", "comment": "x"}
        status, added = ask(f"{url}/api/silences", "POST", body)
        assert (status, added["state"]) == (201, "active")
        assert [silence["id"] for silence in ask(f"{url}/api/silences")[1]["silences"]] == [added["id"]]
        assert ask(f"{url}/api/silences/{added['id']}", "DELETE")[0] == 200
        assert ask(f"{url}/api/silences/{added['id']}", "DELETE")[0] == 404
        run.send([alert])
        until(lambda: run.told() == Counter([alert.id]), process, "the alert")
        link = ack_link(url, "k-1", alert.id, "ops", int(time.time() * 1_000))
        status, page = ask(link)
        assert status == 200 and "<button" in page
        assert process.get("/api/status")["acks"] == [], "to look at a link acknowledges nothing"
        assert ask(link.replace("by=ops", "by=eve"), "POST", b"")[0] == 403
        assert ask(link, "POST", b"")[0] == 200
        (ack,) = process.get("/api/status")["acks"]
        assert (ack["alert"], ack["by"]) == (alert.id, "ops")
        assert ask(f"{url}/api/alerts/{alert.id}/ack", "POST", {"by": "bo", "comment": "I look"})[0] == 200
        (ack,) = process.get("/api/status")["acks"]
        assert (ack["by"], ack["comment"]) == ("bo", "I look")
    assert len(run.read("acks")) == 2


def test_another_process_takes_over(broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path) -> None:
    run, alerts = Ops(broker, receiver, tmp_path, "standby"), alerts_of(60, users=60)
    with run.start() as one:
        until(lambda: active(one), one, "active")
        with run.start() as two:
            two.wait_ready()
            run.send(alerts[:20])
            until(lambda: len(run.told()) == 20, one, "20 alerts")
            time.sleep(6)
            until(lambda: active(one), one, "a rebalance gives the new one nothing")
            assert two.get("/api/status")["state"] == "standby"
            one.kill()
            run.send(alerts[20:40])
            until(lambda: len(run.told()) == 40, two, "20 by the other", 30)
            # The one that is suspended must not go on as if nothing had happened.
            with run.start() as three:
                three.wait_ready()
                time.sleep(6)
                until(lambda: active(two), two, "a rebalance gives the third nothing")
                os.kill(two.process.pid, signal.SIGSTOP)
                run.send(alerts[40:])
                until(lambda: len(run.told()) == 60, three, "20 by the third", 60)
                os.kill(two.process.pid, signal.SIGCONT)
                until(lambda: two.get("/api/status")["state"] == "standby", two, "the second stands by")
                assert active(three)
                assert three.stop() == 0 and two.stop() == 0
    assert run.told() == Counter(alert.id for alert in alerts)
    assert not run.box.doubles


def test_no_secret_is_told_anywhere(broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path) -> None:
    more = f'token = "{SECRET}-t"\nsigning_key = "{SECRET}-s"\n'
    run = Ops(broker, receiver, tmp_path, "secret", more=more)
    run.box.plan(error(500, body=f"bad {SECRET}"), error(404), HALF)
    with run.start("--log-level", "debug") as process:
        process.wait_ready()
        run.send(alerts_of(2, users=2))
        until(lambda: len(run.told()) == 2, process, "told", 30)
        url = f"http://127.0.0.1:{process.port}"
        shown = [str(ask(f"{url}{path}")) for path in ("/", "/api/status", "/api/receivers", "/metrics", "/ready")]
        assert ask(f"{url}/api/silences", "POST", {"matchers": ["a=b"], "duration": "1h"})[0] == 401
        given = {"Authorization": f"Bearer {SECRET}-t"}
        body = {"matchers": ["a=b"], "duration": "1h", "created_by": "ann", "comment": "x"}
        assert ask(f"{url}/api/silences", "POST", body, **given)[0] == 201
        assert process.stop() == 0
        assert SECRET not in process.output + "".join(shown)
    dead = Ops(broker, receiver, tmp_path, "secret-dead").config
    dead.write_text(dead.read_text().replace(receiver.url, "http://127.0.0.1:1"))
    tried = anomaly("deliver", "--test", "ops", "--config", str(dead), folder=tmp_path)
    assert tried.returncode == 1 and "ops/webhook/0: not sent: it cannot be reached" in tried.stdout
    assert SECRET not in tried.stdout + tried.stderr


def test_a_test_sends_a_marked_sample(broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path) -> None:
    run = Ops(broker, receiver, tmp_path, "sample")
    done = anomaly("deliver", "--test", "ops", "--config", str(run.config), folder=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("ops/webhook/0: sent"), done.stderr
    ((alert,),) = [request.json() for request in run.box.taken]
    assert alert["job"] == "anomaly-deliver-test" and "Nothing has happened" in alert["explanation"]
    wrong = anomaly("deliver", "--test", "opps", "--config", str(run.config), folder=tmp_path)
    assert wrong.returncode == 2 and "did you mean ops?" in wrong.stderr


@pytest.mark.parametrize(
    ("replaced", "by", "said"),
    [
        ('receiver = "ops"', 'receiver = "opps"', ["delivery.route.receiver", "line ", "did you mean ops?"]),
        ("group_wait", "group_wat", ["delivery.route.group_wat", "did you mean group_wait?"]),
        ('form = "alert"', "url_file = '/none'", ["delivery.receivers[0].webhook[0]", "url_file"]),
        ("bootstrap_servers = ", 'bootstrap_servers = "127.0.0.1:1" #', ["no broker answers at", "127.0.0.1:1"]),
        (ROUTE, ROUTE + '[[delivery.archive]]\nname = "a"\npath = "ftp://x"\n', ["delivery.archive[0].path", "ftp"]),
        ('name = "ops"', 'name = "ops"\n[[delivery.receivers.kafka]]\ntopic = "x"\nbootstrap_servers = "x"',
         ["delivery.receivers[0].kafka[0].bootstrap_servers", "host:port"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path, replaced: str, by: str, said: list[str]
) -> None:
    run = Ops(broker, receiver, tmp_path, "wrong")
    run.config.write_text(run.config.read_text().replace(replaced, by))
    done = anomaly("deliver", "--config", str(run.config), "--port", "0", folder=tmp_path)
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("anomaly: ") and all(part in line for part in said), line
    assert SECRET not in line


def test_two_tenants_forward_to_a_centre(broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path) -> None:
    tables = "".join(WEBHOOK.format(url=receiver.url, name=name) for name in ("north", "south"))
    route = ROUTE + "".join(
        f'[[delivery.route.routes]]\nreceiver = "{name}"\nmatchers = ["tenant={name}"]\n' for name in ("north", "south")
    )
    centre = Ops(broker, receiver, tmp_path, "centre", route=route, tables=tables)
    forward = """
[delivery.route]
receiver = "centre"
[[delivery.receivers]]
name = "centre"
[[delivery.receivers.kafka]]
topic = "{topic}"
"""
    sent = {name: alerts_of(count, users=count, query=name) for name, count in (("north", 7), ("south", 5))}
    runs = {
        name: DeliveryRun(
            broker.bootstrap_servers, tmp_path, name, f'tenant = "{name}"\n' + forward.format(topic=centre.alerts),
            broker.touch,
        )
        for name in sent
    }  # fmt: skip
    with centre.start() as process, runs["north"].start() as north, runs["south"].start() as south:
        for each in (process, north, south):
            until(lambda each=each: active(each), each, "active")
        for name, run in runs.items():
            run.send(sent[name])
        for name in sent:
            kept = receiver[f"/{name}/{SECRET}"].kept
            until(lambda kept=kept, name=name: len(told_ids(list(kept.values()))) == len(sent[name]), process, name)
        counted = 'anomaly_count_total{job="unusual_transactions",severity="high",tenant="south"}'
        until(lambda: metric(process, counted) == 5, process, "the count by tenant")
    assert not run_keys_differ(centre, runs["north"])
    assert not centre.told()


def run_keys_differ(centre: DeliveryRun, tenant: DeliveryRun) -> bool:
    """Whether the records of a tenant have other keys, values or times at the centre."""
    there = {record.value: (record.key, record.timestamp) for record in centre.read(centre.alerts)}
    here = {record.value: (record.key, record.timestamp) for record in tenant.read(tenant.alerts)}
    return any(there.get(value) != rest for value, rest in here.items())


def test_memory_stays_flat_while_a_receiver_is_dead(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    run = Ops(broker, receiver, tmp_path, "flat")
    run.box.always = HANG
    sizes = []
    with run.start() as process:
        until(lambda: active(process), process, "active")
        memory = psutil.Process(process.process.pid).memory_info
        counted = 'anomaly_count_total{job="unusual_transactions",severity="high",tenant=""}'
        sent = 0
        for more in (5_000, 5_000, 10_000):
            run.send(alerts_of(more, users=40))
            sent += more
            until(lambda sent=sent: metric(process, counted) == sent, process, f"{sent} alerts", 60)
            until(lambda: process.get("/api/status")["lag"] == 0, process, "all are decided", 60)
            sizes.append(memory().rss)
        (way,) = process.get("/api/receivers")["receivers"]
        assert way["outstanding"] == 40, "one for each group and sink"
    assert sizes[-1] - sizes[0] < 30_000_000, sizes


def test_check_and_explain_say_where_alerts_go_and_why(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    tables = f"""
[[delivery.archive]]
name = "files"
path = "{tmp_path / "files"}"
[[response]]
name = "freeze"
matchers = ["user_id=user-1"]
[[response.steps]]
http = "{receiver.url}/freeze"
"""
    more = ROUTE + '[[delivery.route.routes]]\nreceiver = "ops"\nmatchers = ["severity=critical"]\n'
    run = Ops(broker, receiver, tmp_path, "explain", route=more, tables=tables)
    config = ("--config", str(run.config))
    checked = anomaly("deliver", "--check", *config, folder=tmp_path)
    assert checked.returncode == 0, checked.stderr
    for part in ("all alerts → ops", '└─ severity="critical" → ops', "receiver ops: ops/webhook/0", "archive files:"):
        assert part in checked.stdout, checked.stdout
    assert "response freeze:" in checked.stdout and "(dry run)" in checked.stdout
    assert SECRET not in checked.stdout
    alert, other = alerts_of(2, users=2)
    (tmp_path / "alert.json").write_bytes(encode(alert))
    explained = anomaly("deliver", "--explain", "alert.json", *config, folder=tmp_path)
    assert explained.returncode == 0, explained.stderr
    assert 'user_id="user-0"' in explained.stdout and "the first of its group" in explained.stdout
    assert 'no: severity="critical"' in explained.stdout
    anomaly("silence", "add", "user_id=user-1", "--for", "1h", "--comment", "moves", *config, folder=tmp_path)
    with run.start() as process:
        process.wait_ready()
        run.send([alert, other])
        until(lambda: len(run.told()) == 1, process, "one is told")
        assert process.stop() == 0
    by_id = anomaly("deliver", "--explain", other.id, *config, folder=tmp_path)
    assert "silenced; if it still comes" in by_id.stdout and ": moves" in by_id.stdout, by_id.stderr
    document = json.loads(anomaly("deliver", "--explain", alert.id, "--json", *config, folder=tmp_path).stdout)
    (destination,) = document["destinations"]
    assert destination["way"] == "ops/webhook/0" and "the same was told" in destination["why"], destination
    away = run.config.read_text().replace(broker.bootstrap_servers, "127.0.0.1:1")
    run.config.write_text(away)
    alone = anomaly("deliver", "--explain", "alert.json", *config, folder=tmp_path)
    assert alone.returncode == 0 and "without what is silenced or was told" in alone.stderr
    assert anomaly("deliver", "--check", *config, folder=tmp_path).returncode == 0, "needs no broker"
    wrong = anomaly("deliver", "--explain", "0" * 32, *config, folder=tmp_path)
    assert wrong.returncode == 2 and "no broker answers" in wrong.stderr


def test_records_of_its_own_state_are_no_alerts(
    broker: EmbeddedBroker, receiver: FailingReceiver, tmp_path: Path
) -> None:
    run, alerts = Ops(broker, receiver, tmp_path, "own"), alerts_of(40, users=40)
    with run.start() as process:
        process.wait_ready()
        run.send(alerts[:20])
        until(lambda: len(run.told()) == 20, process, "20 alerts")
        process.kill()  # before its group knows how far it has read what it has written
    with run.start() as process:
        until(lambda: active(process), process, "active")
        run.send(alerts[20:])
        until(lambda: len(run.told()) == 40, process, "20 more")
    assert run.read("undelivered") == []
