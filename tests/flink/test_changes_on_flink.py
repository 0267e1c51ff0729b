"""Tables that change, on Flink itself and by our worker: what is left in a compacted topic must be the same."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from anomaly_app.testing.flink import FlinkRun, statements_for_flink
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

pytestmark = [pytest.mark.flink, pytest.mark.timeout(300)]

UPSERT = "'connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json'"
TABLES = f"""
CREATE TABLE stock (id INT, qty INT, shop STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({UPSERT}, 'topic' = 'ch.stock');
CREATE TABLE events (id INT, qty INT, shop STRING, db STRING METADATA FROM 'value.source.database') WITH (
    'connector' = 'kafka', 'topic' = 'ch.events', 'format' = 'debezium-json');
"""
QUERIES = {
    "filter": ("id INT, qty INT, shop STRING, PRIMARY KEY (id) NOT ENFORCED", "SELECT * FROM stock WHERE qty > 3"),
    "plain": ("id INT, qty INT, shop STRING, PRIMARY KEY (id) NOT ENFORCED", "SELECT * FROM stock"),
    "moved": ("shop STRING, qty INT, PRIMARY KEY (shop, qty) NOT ENFORCED", "SELECT shop, qty FROM stock"),
    "events": ("id INT, qty INT, db STRING, PRIMARY KEY (id) NOT ENFORCED", "SELECT id, qty, db FROM events"),
    "both": (
        "id INT, qty INT, PRIMARY KEY (id) NOT ENFORCED",
        "SELECT id, qty FROM stock UNION ALL SELECT id + 1000, qty FROM stock",
    ),
}


def stock(count: int) -> list[Sent]:
    """Upserts and deletions. Key and value agree: where they do not, Flink believes the value, and we the key."""
    draw, sent = random.Random(3), []
    for _ in range(count):
        id_, qty = draw.randrange(40), draw.choice([None, *range(1, 10)])
        value = None if qty is None else json.dumps({"id": id_, "qty": qty, "shop": draw.choice("abc")}).encode()
        sent.append(Sent(json.dumps({"id": id_}).encode(), value))
    return sent


def events(count: int) -> list[Sent]:
    draw, left, sent = random.Random(4), {}, []  # type: ignore[var-annotated]
    for _ in range(count):
        id_ = draw.randrange(40)
        before = left.get(id_)
        after = None if before and draw.random() < 0.3 else {"id": id_, "qty": draw.randrange(100), "shop": None}
        op = "d" if after is None else "u" if before else draw.choice("cr")
        source = {"db": draw.choice(["one", "two"]), "lsn": 5}
        event = {"before": before, "after": after, "op": op, "source": source}
        sent.append(Sent(b"%d" % id_, json.dumps(event).encode()))
        if after is None:
            del left[id_]
            sent.append(Sent(b"%d" % id_, None))
        else:
            left[id_] = after
    return sent


def left(records: list[Any]) -> dict[str, Any]:
    """What a compacted topic holds: the last value of each key."""
    found: dict[str, Any] = {}
    for record in records:
        key = json.dumps(json.loads(record.key), sort_keys=True)
        found.pop(key, None)
        if record.value is not None:
            found[key] = json.loads(record.value)
    return found


def job(who: str) -> str:
    """All queries as one job."""
    statements = [TABLES]
    for name, (columns, select) in QUERIES.items():
        statements.append(f"CREATE TABLE kept_{name} ({columns}) WITH ({UPSERT}, 'topic' = 'ch.{name}.{who}');")
        statements.append(f"INSERT INTO kept_{name} {select};")
    return "\n".join(statements)


def test_what_is_left_is_what_flink_leaves(kafka: ApacheKafka, tmp_path: Path) -> None:
    sinks = {f"ch.{name}.{who}": 2 for name in QUERIES for who in ("ours", "flink")}
    kafka.create_topics({"ch.stock": 3, "ch.events": 3, **sinks})
    asyncio.run(send(kafka.bootstrap_servers, "ch.stock", stock(2_000)))
    asyncio.run(send(kafka.bootstrap_servers, "ch.events", events(1_000)))
    path = tmp_path / "changes.sql"
    path.write_text(job("ours"))
    settings: dict[str, object] = {
        "kafka.bootstrap_servers": kafka.bootstrap_servers,
        "worker.app_id": "changes-on-flink",
        "worker.data_dir": tmp_path / "state",
        "alerts.topic": "ch.alerts",
    }
    with WorkerProcess(settings, path, options=["--bounded", "--startup", "earliest-offset"]) as worker:
        assert worker.wait() == 0, worker.output
    off = {"table.exec.sink.require-on-conflict": "false"}
    with FlinkRun(statements_for_flink(job("flink"), servers=kafka.bootstrap_servers, settings=off)) as flink:
        flink.wait()
    for name in QUERIES:
        ours, theirs = (
            left(asyncio.run(read(kafka.bootstrap_servers, f"ch.{name}.{who}"))) for who in ("ours", "flink")
        )
        assert len(theirs) > 5, name
        assert ours == theirs, name
