"""A job file is edited between two runs: the worker goes on where it was, with what its state is still good for."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from sales_run import Broker, Run, expected, sale_rows, until

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import read


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic))


def test_a_job_that_reads_other_columns_than_before(broker: Broker, tmp_path: Path) -> None:
    # Without WITHIN rows are stored, in the layout of then.
    run, rows = Run(broker, tmp_path, "edited", keyed=True, within=""), sale_rows(4_000, seed=12)
    run.send(rows[:2_000])
    with run.start() as worker:
        worker.wait_ready()
        until(lambda: worker.get("/api/status")["alerts"] > 10, worker, "alerts")
        assert worker.stop() == 0, worker.output
    before = {alert["id"] for alert in run.alerts()}
    job = run.job.read_text()
    edited = job.replace("invoice_id STRING, quantity", "shop STRING, invoice_id STRING, quantity")
    run.job.write_text(edited.replace("DEFINE U AS U.quantity", "DEFINE U AS U.shop IS NULL AND U.quantity", 1))
    run.send(rows[2_000:])
    with run.start(**{"worker.bounded": "true"}) as worker:
        assert worker.wait() == 0, worker.output
        assert "Traceback" not in worker.output
    invoices, quantities = {row[1] for row in rows}, {row[1]: row[2] for row in rows}
    after = [alert for alert in run.alerts() if alert["id"] not in before]
    assert len(after) > 20 and run.read("dlq") == []
    for alert in after:
        assert alert["payload"]["invoice_id"] in invoices
        assert quantities[alert["payload"]["invoice_id"]] == alert["payload"]["qty"]


CALM = """SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY user_id ORDER BY ts
    MEASURES A.quantity AS first, LAST(B.quantity) AS last AFTER MATCH SKIP PAST LAST ROW
    PATTERN (A B B) DEFINE A AS A.quantity = 1, B AS B.quantity > 0)"""
OTHER = """SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY user_id ORDER BY ts
    MEASURES A.invoice_id AS first, LAST(B.invoice_id) AS last AFTER MATCH SKIP PAST LAST ROW
    PATTERN (A B B) DEFINE A AS A.quantity = 2, B AS B.quantity > 0)"""
WIDER = """SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY user_id, quantity ORDER BY ts
    MEASURES LAST(A.invoice_id) AS last AFTER MATCH SKIP PAST LAST ROW
    PATTERN (A+ B) DEFINE A AS A.quantity > 0, B AS B.quantity < 0)"""


def states(run: Run) -> list[dict[str, Any]]:
    """What ``anomaly state list`` prints."""
    arguments = ["state", "list", "--json", "--data-dir", str(run.settings["worker.data_dir"])]
    done = subprocess.run([sys.executable, "-m", "anomaly_app.cli", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def drop(run: Run, query: str) -> subprocess.CompletedProcess[str]:
    sets = [part for name, value in run.settings.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "anomaly_app.cli", "state", "drop", query, *sets]
    return subprocess.run(command, capture_output=True, text=True)


def owners(run: Run) -> dict[str, int]:
    """Entries that stand in the changelogs, by plan and owner."""
    alive: dict[tuple[str, int, bytes], bytes | None] = {}
    topics = asyncio.run(all_topics(run.broker.servers))
    for topic in (topic for topic in topics if topic.startswith(run.topic) and topic.endswith("-state-changelog")):
        for record in asyncio.run(read(run.broker.servers, topic)):
            alive[topic, record.partition, record.key] = record.value
    keys = [key for (_, _, key), value in alive.items() if value is not None]
    return Counter(key.partition(b"\0")[0].decode() for key in keys)


async def all_topics(servers: str) -> set[str]:
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        return set(await consumer.topics())


def with_queries(run: Run, *queries: str) -> None:
    """Write the job anew, with these alert queries."""
    table = run.job.read_text().partition(");")[0]
    run.job.write_text(f"{table});\n" + ";\n".join(queries) + ";\n")


def calm_ones(run: Run) -> Counter[tuple[Any, ...]]:
    """Matches of the query that stays."""
    assert run.read("late") == run.read("dlq") == []
    alerts = [alert for alert in run.alerts() if alert["query"] == "query"]
    return Counter((alert["key"]["user_id"], alert["payload"]["first"], alert["payload"]["last"]) for alert in alerts)


def test_editing_one_query_leaves_the_state_of_the_others_alone(broker: Broker, tmp_path: Path) -> None:
    """Also if the edited one reads columns that nobody read before, so that rows have another form."""
    run, rows = Run(broker, tmp_path, "others", keyed=True), sale_rows(3_000, seed=21, users=20)
    with_queries(run, CALM, OTHER.replace("invoice_id", "quantity"))
    run.send(rows[:1_500])
    run.finish()
    before = states(run)
    kept, edited = (next(one for one in before if one["query"] == f"others/{name}") for name in ("query", "query-2"))
    assert kept["entries"] > 10 and edited["entries"] > 10 and kept["bytes"] > kept["entries"]
    with_queries(run, CALM, OTHER)
    run.send(rows[1_500:])
    run.finish()
    after = {one["query"]: one for one in states(run)}
    assert after["others/query"]["fingerprint"] == kept["fingerprint"]
    assert after["others/query-2"]["fingerprint"] != edited["fingerprint"]
    assert edited["fingerprint"] not in {one["fingerprint"] for one in states(run)}
    left = owners(run)
    assert edited["fingerprint"] not in left and left[kept["fingerprint"]] > 0
    assert calm_ones(run) == Counter(expected(rows, sql=CALM))


def test_a_removed_query_is_gone_with_its_plan(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "removed", keyed=True), sale_rows(2_000, seed=22, users=20)
    with_queries(run, CALM, WIDER.replace("user_id, quantity", "quantity"))
    run.send(rows[:1_000])
    run.finish()
    removed = next(one for one in states(run) if one["query"] == "removed/query-2")
    assert removed["entries"] > 10 and owners(run)[removed["fingerprint"]] == removed["entries"]
    with_queries(run, CALM)
    run.send(rows[1_000:])
    with run.start() as worker:
        worker.wait_ready()
        until(lambda: removed["fingerprint"] not in owners(run), worker, "the state is deleted")
        until(lambda: {one["query"] for one in states(run)} == {"removed/query"}, worker, "and its files")
        assert worker.stop() == 0, worker.output
        assert "Traceback" not in worker.output
    run.finish()
    assert calm_ones(run) == Counter(expected(rows, sql=CALM))


def test_a_query_that_comes_back_does_not_find_what_it_had(broker: Broker, tmp_path: Path) -> None:
    """Rows have passed meanwhile that it has not seen: going on from there would give matches across the hole."""
    run, rows = Run(broker, tmp_path, "back", keyed=True), sale_rows(3_000, seed=23, users=20)
    with_queries(run, CALM, OTHER)
    run.send(rows[:1_000])
    run.finish()
    first = {one["query"]: one["fingerprint"] for one in states(run)}
    with_queries(run, CALM)
    run.send(rows[1_000:2_000])
    run.finish()
    with_queries(run, CALM, OTHER)
    before = {alert["id"] for alert in run.alerts()}
    run.send(rows[2_000:])
    run.finish()
    assert {one["query"]: one["fingerprint"] for one in states(run)} == first
    again = [alert for alert in run.alerts() if alert["query"] == "query-2" and alert["id"] not in before]
    # The second part is the hole; rows at its end have waited for the watermark, and are among those it sees.
    assert len(again) > 20, again
    assert min(int(alert["payload"]["first"]) for alert in again) > 1_800, again


@pytest.mark.timeout(180)  # six workers, one behind the other
def test_killed_while_what_is_left_behind_is_deleted(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "torn", keyed=True), sale_rows(4_000, seed=24, users=200)
    with_queries(run, CALM, OTHER)
    run.send(rows[:2_000])
    run.finish()
    edited = next(one for one in states(run) if one["query"] == "torn/query-2")
    with_queries(run, CALM, OTHER.replace("quantity = 2", "quantity = 3"))
    for part in range(4):
        run.send(rows[2_000 + part * 500 : 2_500 + part * 500])
        with run.start() as worker:
            deadline = time.monotonic() + 40
            while worker.get("/ready") is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.15 * part)
            worker.kill()
    run.finish()
    assert edited["fingerprint"] not in owners(run)
    assert edited["fingerprint"] not in {one["fingerprint"] for one in states(run)}
    assert calm_ones(run) == Counter(expected(rows, sql=CALM))


def test_state_is_dropped_by_hand(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "dropped", keyed=True), sale_rows(3_000, seed=25, users=20)
    with_queries(run, CALM, OTHER)
    run.send(rows[:1_500])
    with run.start() as worker:
        worker.wait_ready()
        until(lambda: worker.get("/api/status")["alerts"] > 10, worker, "alerts")
        assert states(run), "a worker that runs is no hindrance"
        refused = drop(run, "query")
        assert (
            refused.returncode == 2
            and "in use by a worker" in refused.stderr
            and str(worker.process.pid) in refused.stderr
        )
        second = run.start()
        with second:
            assert second.wait() == 2 and "worker.data_dir" in second.output and "in use" in second.output
        assert worker.stop() == 0, worker.output
    wrong = drop(run, "dropped/qurey")
    assert wrong.returncode == 2 and "did you mean 'dropped/query'" in wrong.stderr
    kept, gone = (
        next(one for one in states(run) if one["query"] == f"dropped/{name}") for name in ("query", "query-2")
    )
    done = drop(run, "query-2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"dropped/query-2 ({gone['fingerprint']}): {gone['entries']} entries deleted\n"
    assert states(run) == [kept]
    assert gone["fingerprint"] not in owners(run) and owners(run)[kept["fingerprint"]] == kept["entries"]
    shutil.rmtree(tmp_path / "state")  # the changelog has it all
    run.send(rows[1_500:])
    run.finish()
    assert calm_ones(run) == Counter(expected(rows, sql=CALM))
    assert {one["query"] for one in states(run)} == {"dropped/query", "dropped/query-2"}
