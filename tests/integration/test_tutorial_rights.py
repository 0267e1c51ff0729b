"""The tutorial's table of rights: worker and delivery get along with them on Apache Kafka, which gives no others."""

from __future__ import annotations

import asyncio
import json
import re
import time
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from sales_run import until
from typed_commands import get

from anomaly_app.generators import transactions
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.receivers import FailingReceiver, in_thread
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

PAGE = (Path(__file__).parents[2] / "docs/tutorial-transactions.md").read_text("utf-8")
RIGHTS = [
    [re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:-1]]
    for row in re.findall(r"^\| of `anomaly (?:run|deliver)` \|.*$", PAGE, re.MULTILINE)
]
PASSWORD = "secret"


@pytest.fixture(scope="module")
def kafka() -> Iterator[ApacheKafka]:
    if problem := missing_tools():
        pytest.skip(problem)
    strict = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }
    with ApacheKafka(sasl={"run": PASSWORD, "deliver": PASSWORD}, properties=strict) as kafka:
        yield kafka


def allow(kafka: ApacheKafka, user: str, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    pattern = ResourcePatternType.PREFIXED if name.endswith("*") else ResourcePatternType.LITERAL
    rules = [
        AclBinding(kind, name.rstrip("*"), pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for operation in operations
    ]
    admin = AdminClient({"bootstrap.servers": kafka.internal_servers})
    for created in admin.create_acls(rules).values():
        created.result()


def as_user(kafka: ApacheKafka, user: str) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": kafka.bootstrap_servers,
        "kafka.security_protocol": "SASL_PLAINTEXT",
        "kafka.sasl_username": user,
        "kafka.sasl_password": PASSWORD,
    }


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_the_rights_of_the_tutorial_are_enough(kafka: ApacheKafka, tmp_path: Path) -> None:
    literal: set[str] = set()
    for (user,), readable, writable, own, groups in RIGHTS:
        name = user.removeprefix("anomaly ")
        for topics, operation in (
            (readable, AclOperation.READ),
            (writable, AclOperation.WRITE),
            (own, AclOperation.ALL),
        ):
            for topic in topics:
                allow(kafka, name, ResourceType.TOPIC, topic, operation)
            literal.update(topic for topic in topics if not topic.endswith("*"))
        for group in groups:
            allow(kafka, name, ResourceType.GROUP, group, AclOperation.READ)
    kafka.create_topics(
        {
            topic: 1 if topic.endswith("-state") else 2
            for topic in [*literal, "transactions.late", "anomaly.alerts.dlq", "anomaly.alerts.late"]
        }
    )
    records = transactions().records(1, 3_000, time.time_ns() // 1_000_000 - 1_500_000, rate=2)
    sent = [Sent(each.key.encode(), msgspec.json.encode(each.value), each.timestamp_ms) for each in records]
    sent += [Sent(b"user001", b"no JSON")]
    asyncio.run(send(kafka.internal_servers, "transactions", sent))
    packaged = files("anomaly_app.jobs")
    jobs = [tmp_path / f"{name}.sql" for name in ("unusual_transactions", "alert_rate", "alert_alarm")]
    for job in jobs:
        job.write_text(packaged.joinpath(job.name).read_text().replace("latest-offset", "earliest-offset"))
    given = as_user(kafka, "run") | {
        "worker.app_id": "cards", "worker.data_dir": tmp_path / "state", "worker.idle_timeout_s": 1,
        "parameters.alerts.alarm.window": "1 s",
    }  # fmt: skip
    with WorkerProcess(given, *jobs) as worker:
        worker.wait_ready()
        until(
            lambda: '"job":"alert_alarm"' in str(get(f"http://127.0.0.1:{worker.port}/api/alerts")[1]),
            worker,
            "an alarm",
        )
        assert worker.stop() == 0, worker.output
    assert len(asyncio.run(read(kafka.internal_servers, "transactions.dlq"))) == 1
    with in_thread(FailingReceiver()) as outside:
        settings = re.search(r"cat > anomaly\.toml <<'END'\n(.*?)^END$", PAGE, re.MULTILINE | re.DOTALL)
        assert settings is not None
        text = (
            settings[1]
            .replace("http://127.0.0.1:8099", outside.url)
            .replace('path = "archive"', f'path = "{tmp_path}"')
        )
        text = text.replace("port = 6067 ", "port = 0 ").replace("port = 2525", "port = 9")
        assert tomllib.loads(text)["delivery"]["receivers"]
        config = tmp_path / "anomaly.toml"
        config.write_text(text)
        with WorkerProcess(
            as_user(kafka, "deliver"), options=("--config", str(config)), command="deliver", port="delivery.port"
        ) as delivery:
            until(lambda: outside["/oncall"].taken and list(tmp_path.rglob("*.parquet")), delivery, "an alarm is told")
            until(lambda: asyncio.run(read(kafka.internal_servers, "anomaly.responses")), delivery, "a response")
            assert delivery.stop() == 0, delivery.output
            assert "refuse" not in delivery.output.lower() and "authori" not in delivery.output.lower()
    responses = [json.loads(each.value) for each in asyncio.run(read(kafka.internal_servers, "anomaly.responses"))]
    assert {each["event"] for each in responses} >= {"started", "begun"}
