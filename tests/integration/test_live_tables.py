"""What the shell reads: tables that change, and tables of several topics, on the embedded broker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from anomaly_app.changes import rows_left
from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.tables import bind_source
from anomaly_app.operators import Finding
from anomaly_app.runtime.live import LiveQuery
from anomaly_app.settings import load_settings
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, send


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


async def rows(servers: str, text: str) -> list[tuple[object, ...]]:
    """What is left of a query over one table, read to its end."""
    create = parse_statements(text)[0]
    assert isinstance(create, CreateTable)
    source = bind_source(create, text, [])
    loaded = load_settings({"kafka.bootstrap_servers": servers}, environ={})
    found: list[Finding] = []
    query = LiveQuery(bind_text(text, {}).factory, {source.name: source}, loaded, to_end=True)
    await query.run(found.extend)
    assert query.counts.words == ""
    return rows_left((finding.change, finding.values) for finding in found)


async def test_a_deletion_whose_time_would_stand_in_the_value(servers: str) -> None:
    topic = f"live-{time.time_ns()}"
    given = [(1, 5, 3), (2, 6, 4), (1, None, 0), (3, 7, 5), (2, None, 0), (2, 9, 6)]
    sent = [
        Sent(
            json.dumps({"id": id_}).encode(),
            None if qty is None else json.dumps({"id": id_, "qty": qty, "ts": f"2026-01-01 00:00:0{second}"}).encode(),
            None,
            0,
        )
        for id_, qty, second in given
    ]
    await send(servers, topic, sent)
    text = f"""CREATE TABLE t (id INT, qty INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts, PRIMARY KEY (id) NOT ENFORCED)
        WITH ('connector' = 'upsert-kafka', 'topic' = '{topic}', 'key.format' = 'json', 'value.format' = 'json');
        SELECT id, qty FROM t"""
    assert sorted(await rows(servers, text)) == [(2, 9), (3, 7)]


async def test_several_topics_are_one_table(servers: str) -> None:
    name = f"live-{time.time_ns()}"
    for topic, number in (("a", 1), ("b", 2)):
        await send(servers, f"{name}.{topic}", [Sent(None, b'{"v": %d}' % number, None, part) for part in range(4)])
    options = "'connector' = 'kafka', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset'"
    for topics in (f"'topic' = '{name}.a;{name}.b'", f"'topic-pattern' = '{name}[.].'"):
        text = f"CREATE TABLE t (v INT, topic STRING METADATA) WITH ({options}, {topics}); SELECT v, topic FROM t"
        assert sorted(await rows(servers, text)) == [(1, f"{name}.a")] * 4 + [(2, f"{name}.b")] * 4
