"""Refusals while a worker runs: what cannot heal ends it with status 2 and one line, what can is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from registry_thread import RegistryThread
from sales_run import AVRO, PLAIN, Broker, Run, encode_avro, sale_rows, status_of, until

from anomaly_app.generators.encode import RegistryAccess, register
from anomaly_app.testing.broker import ALONE_MS, EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.worker import Sent, WorkerProcess, send


def ended(worker: WorkerProcess, *parts: str, within_s: float = 30) -> None:
    """It ends with status 2 and one line of its own."""
    assert worker.wait(within_s) == 2, worker.output
    lines = [line for line in worker.output.splitlines() if line.startswith("anomaly: ")]
    assert len(lines) == 1, worker.output
    assert "Traceback" not in worker.output, worker.output
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def embedded() -> Iterator[Broker]:
    with EmbeddedBroker() as broker:
        yield Broker(broker.bootstrap_servers, {}, lambda topic: broker.touch(topic))


def avro_run(broker: Broker, folder: Path, registry: RegistryThread) -> tuple[Run, list[Sent], list[Sent]]:
    """A run over Avro, records that it can read, and records of a schema that it has to ask for."""
    run = Run(broker, folder, "refused")
    access = RegistryAccess(registry.url)
    assert register(access, "sale-value", AVRO) == 1
    newer = {**AVRO, "fields": [*AVRO["fields"], {"name": "more", "type": "string", "default": ""}]}
    assert register(access, "sale-value", newer) == 2
    format_ = f"'format' = 'avro-confluent', 'avro-confluent.url' = '{registry.url}'"
    job = run.job.read_text().replace(PLAIN, format_)
    run.job.write_text(job.replace("ts TIMESTAMP(3),\n", "ts TIMESTAMP(3) METADATA FROM 'timestamp',\n"))
    records = [encode_avro(row) for row in sale_rows(2_000, seed=5)]
    later = [r._replace(value=b"\0\0\0\0\2" + (r.value or b"")[5:] + b"\0") for r in records[1_000:]]
    return run, records[:1_000], later


def test_a_registry_that_does_not_let_us_in_any_more(embedded: Broker, tmp_path: Path) -> None:
    with RegistryThread() as registry:
        run, first, later = avro_run(embedded, tmp_path, registry)
        asyncio.run(send(embedded.servers, run.topic, first))
        with run.start() as worker:
            worker.wait_ready()
            until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "first alerts")
            registry.allow({"ann": "secret"})
            asyncio.run(send(embedded.servers, run.topic, later))
            ended(worker, "the schema registry refuses the credentials", "registry.username", within_s=15)
        registry.allow(None)
        run.finish()  # nothing was lost
    assert run.read("dlq") == []


SYNC_GROUP, HEARTBEAT = 14, 12
INVALID_REQUEST, UNKNOWN = 42, -1


def test_a_group_that_fails_is_joined_again(tmp_path: Path) -> None:
    with EmbeddedBroker(rebalance_delay_ms=ALONE_MS) as embedded:
        run = Run(Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic)), tmp_path, "group")
        rows = sale_rows(4_000, seed=3)
        run.send(rows[:2_000])
        embedded.fail(SYNC_GROUP, INVALID_REQUEST, UNKNOWN)
        with run.start() as worker:
            worker.wait_ready(20)
            until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "first alerts")
            embedded.fail(HEARTBEAT, INVALID_REQUEST)
            until(lambda: worker.output.count("joining again") >= 3, worker, "joins again")
            before = worker.get("/api/status")["alerts"]
            run.send(rows[2_000:])
            until(lambda: worker.get("/api/status")["alerts"] > before, worker, "more alerts")
            assert worker.stop() == 0


USER = {"kafka.security_protocol": "SASL_PLAINTEXT", "kafka.sasl_username": "alice", "kafka.sasl_password": "secret"}


class Guarded:
    """A broker with users and rights; everything is allowed at first."""

    def __init__(self, kafka: ApacheKafka) -> None:
        self.kafka, self.admin = kafka, AdminClient({"bootstrap.servers": kafka.internal_servers})
        self.broker = Broker(kafka.internal_servers, {}, lambda topic: kafka.create_topics({topic: 2}))

    def deny(self, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        rules = [
            AclBinding(kind, name, ResourcePatternType.LITERAL, "User:alice", "*", operation, AclPermissionType.DENY)
            for operation in operations
        ]
        for created in self.admin.create_acls(rules).values():
            created.result()

    def start(self, run: Run) -> WorkerProcess:
        return run.start(**USER, **{"kafka.bootstrap_servers": self.kafka.bootstrap_servers})


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    if problem := missing_tools():
        pytest.skip(problem)
    rights = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
    }
    with ApacheKafka(sasl={"alice": "secret"}, properties=rights) as kafka:
        yield Guarded(kafka)


def deny_reading(guarded: Guarded, run: Run) -> None:
    guarded.deny(ResourceType.TOPIC, run.topic, AclOperation.READ)


def deny_seeing(guarded: Guarded, run: Run) -> None:
    guarded.deny(ResourceType.TOPIC, run.topic, AclOperation.READ, AclOperation.DESCRIBE)


def deny_alerts(guarded: Guarded, run: Run) -> None:
    guarded.deny(ResourceType.TOPIC, f"{run.topic}.alerts", AclOperation.WRITE)


def deny_group(guarded: Guarded, run: Run) -> None:
    guarded.deny(ResourceType.GROUP, run.topic, AclOperation.READ)


DENIALS = pytest.mark.parametrize("deny", [deny_reading, deny_seeing, deny_alerts, deny_group])


@pytest.mark.kafka
@pytest.mark.timeout(120)
@DENIALS
def test_rights_that_are_taken_while_it_runs(
    guarded: Guarded, tmp_path: Path, deny: Callable[[Guarded, Run], None]
) -> None:
    run = Run(guarded.broker, tmp_path, deny.__name__.replace("_", "-"))
    rows = sale_rows(4_000, seed=3)
    run.send(rows[:2_000])
    with guarded.start(run) as worker:
        worker.wait_ready()
        until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "first alerts")
        deny(guarded, run)
        run.send(rows[2_000:])
        ended(worker, "user 'alice'", "AuthorizationFailed")


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_rights_that_are_not_there_at_the_start(guarded: Guarded, tmp_path: Path) -> None:
    for deny, said in ((deny_reading, "or the user may not see it"), (deny_group, "GroupAuthorizationFailed")):
        run = Run(guarded.broker, tmp_path, f"start-{deny.__name__.replace('_', '-')}")
        deny(guarded, run)
        with guarded.start(run) as worker:
            ended(worker, said)


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_a_password_that_is_changed_while_it_runs(tmp_path: Path) -> None:
    if problem := missing_tools():
        pytest.skip(problem)
    with ApacheKafka(sasl={"alice": "secret"}) as kafka:
        guarded = Guarded(kafka)
        run = Run(guarded.broker, tmp_path, "password")
        run.send(sale_rows(2_000, seed=3))
        with guarded.start(run) as worker:
            worker.wait_ready()
            until(lambda: worker.get("/api/status")["alerts"] > 0, worker, "first alerts")
            kafka.stop()
            until(lambda: status_of(worker, "/ready") == 503, worker, "not ready")
            time.sleep(3)
            assert worker.process.poll() is None, "a broker that is away can come back"
            properties = kafka.directory / "server.properties"
            properties.write_text(properties.read_text().replace('user_alice="secret"', 'user_alice="other"'))
            kafka.start()
            ended(worker, "the broker refuses user 'alice'", within_s=60)
            assert "secret" not in worker.output
