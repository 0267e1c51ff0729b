"""The tutorial of the sales in the shell: its eleven statements, word for word, over Avro with a schema registry.

Live, in a terminal, as its reader does it; and to where the topic ends, where every row can be told.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from registry_thread import RegistryThread
from sales_run import as_csv, iso
from terminal_screen import ENTER, TerminalScreen

from anomaly_app import Rows, query
from anomaly_app.changes import Change, rows_left
from anomaly_app.generators import Generated, sales
from anomaly_app.generators.encode import Encoder, RegistryAccess, create_encoder
from anomaly_app.shell.statements import split
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.worker import Sent, read, send

STATEMENTS = [piece.own for piece in split(Path(__file__).with_name("sales_tutorial.sql").read_text("utf-8"))]
CREATE, EVERYTHING, COUNTS, AVERAGES, LARGE, LARGER, ONE, TWO, UNUSUAL, CREATE_SINK, INSERT = STATEMENTS
SALES = sales(rare=0.02)
SINK = "flink.unusual.sales.records.interactive"
COLUMNS = ("invoice_id", "user_id", "product_id", "quantity", "unit_cost")
START = 1_760_000_000_000
COMMAND = [sys.executable, "-m", "anomaly_app.cli", "sql"]


@dataclass
class World:
    servers: str
    encode: Encoder
    environment: dict[str, str]


@pytest.fixture(params=["embedded", pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.registry])])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    def made(servers: str, registry: str) -> World:
        environment = {
            "XDG_STATE_HOME": str(tmp_path),
            "ANOMALY_KAFKA__BOOTSTRAP_SERVERS": servers,
            "ANOMALY_REGISTRY__URL": registry,
        }
        return World(servers, create_encoder(SALES, "avro", RegistryAccess(registry)), environment)

    if request.param == "embedded":
        with EmbeddedBroker(SALES.topic) as broker, RegistryThread() as registry:
            yield made(broker.bootstrap_servers, registry.url)
        return
    problem = missing_tools()
    if problem:
        pytest.skip(problem)
    from anomaly_app.testing.apicurio import Apicurio

    # A node of its own: the statements name their topics, and others may use them too.
    with ApacheKafka() as kafka, Apicurio() as apicurio:
        kafka.create_topics({SALES.topic: 4})
        yield made(kafka.bootstrap_servers, apicurio.url)


def _sent(world: World, record: Generated) -> Sent:
    return Sent(record.key.encode(), world.encode(record.value), record.timestamp_ms)


# --- live ----------------------------------------------------------------------------------------------


class Sellers:
    """Sales go on meanwhile, two hundred a second."""

    def __init__(self, world: World) -> None:
        self._world, self._done = world, threading.Event()
        self._thread = threading.Thread(target=self._sell)

    def _sell(self) -> None:
        seed = 0
        while not self._done.wait(0.5):
            seed += 1
            now = time.time_ns() // 1_000_000
            records = SALES.records(seed=seed, count=100, start_ms=now - 500, rate=200)
            asyncio.run(send(self._world.servers, SALES.topic, [_sent(self._world, one) for one in records]))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


LIVE = {
    EVERYTHING: r"^ +invoice_id +user_id +product_id +quantity",
    COUNTS: r"^ +user_id +total_sales_count",
    AVERAGES: r"^ +user_id +total_sales_count +avg_quantity",
    LARGE: r"^ +invoice_id +user_id +product_id +quantity",
    LARGER: r"^ +invoice_id +user_id +product_id +quantity",
    ONE: r"^ +unusual_quantity +unusual_tstamp",
    TWO: r"^ +first_unusual_quantity +first_unusual_tstamp +last_unusual_quantity +last_unusual_tstamp",
    UNUSUAL: r"^ +user_id +unusual_invoice_id +unusual_quantity +unusual_tstamp",
}


@pytest.mark.timeout(300)
def test_all_statements_give_live_results(world: World) -> None:
    with TerminalScreen(COMMAND, world.environment, columns=160) as screen, Sellers(world):
        screen.wait_for("^anomaly>")
        screen.send(f"{CREATE};{ENTER}")
        screen.wait_for(r"\[INFO\] Execute statement succeeded\.")
        for statement, head in LIVE.items():
            screen.send(f"{statement};{ENTER}")
            screen.wait_for(r"row [1-9][\d,]* of [1-9][\d,]* +running")
            screen.wait_for(head)
            screen.send("q")
            screen.wait_for(r"^Query terminated, received a total of [1-9][\d,]* rows?\nanomaly>$")
        screen.send(f"CLEAR;{ENTER}{CREATE_SINK};{ENTER}")
        screen.wait_for(r"\[INFO\] Execute statement succeeded\.")
        screen.send(f"{INSERT};{ENTER}")
        screen.wait_for("runs in the background")
        _until(lambda: asyncio.run(read(world.servers, SINK)))
        screen.send(f"SHOW JOBS;{ENTER}")
        screen.wait_for(r"\| insert-into_UnusualSalesRecordTable \| RUNNING \|")
        screen.send(f"QUIT;{ENTER}")
        assert screen.wait() == 0


def _until(condition: Callable[[], Any], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.2)


# --- to the end ----------------------------------------------------------------------------------------


class Sold:
    """Sales that lie in the topic, and a shell that reads them to their end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.records = list(SALES.records(seed=11, count=3_000, start_ms=START, rate=100))
        asyncio.run(send(world.servers, SALES.topic, [_sent(world, record) for record in self.records]))

    def rows(self) -> list[dict[str, Any]]:
        return [{**one.value, "purchase_time": iso(one.timestamp_ms)} for one in self.records]

    def changes(self, *statements: str) -> list[tuple[Change, dict[str, Any]]]:
        """What the last statement gives, the topic read from its beginning to its end."""
        text = "".join(f"{statement};" for statement in (CREATE, *statements))
        ended = subprocess.run(
            [*COMMAND, "--json", "--set", "worker.startup=earliest-offset", "--set", "worker.idle_timeout_s=1"],
            input=text,
            env={**os.environ, **self._world.environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        return [(Change.of(line["op"]), line["row"]) for line in lines]

    def left(self, statement: str) -> list[dict[str, Any]]:
        """What the changes of a statement add up to."""
        bounded = "ALTER TABLE SalesRecordTable SET ('scan.bounded.mode' = 'latest-offset')"
        return rows_left(self.changes(bounded, statement))

    def queried(self, statement: str) -> list[tuple[Any, ...]]:
        """The same by ``query()``."""
        table = Rows(
            columns=[*((name, "STRING") for name in COLUMNS), ("purchase_time", "TIMESTAMP(3)")],
            rows=[(*(row[name] for name in COLUMNS), row["purchase_time"]) for row in self.rows()],
            rowtime="purchase_time",
            watermark_delay_ms=1_000,
        )
        return query(statement, {"SalesRecordTable": table}).rows


def _plain(cell: Any) -> Any:
    return cell.isoformat(" ", "milliseconds") if hasattr(cell, "isoformat") else cell


def _same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    def count(rows: list[dict[str, Any]]) -> Counter[str]:
        return Counter(json.dumps(row, sort_keys=True) for row in rows)

    return bool(wanted) and count(found) == count(wanted)


@pytest.mark.timeout(300)
def test_all_statements_give_all_rows_where_the_topic_ends(world: World) -> None:
    sold = Sold(world)
    quantities: dict[str, list[int]] = defaultdict(list)
    for row in sold.rows():
        quantities[row["user_id"]].append(int(row["quantity"]))
    averages = {user: sum(all_) // len(all_) for user, all_ in quantities.items()}

    assert _same(sold.left(EVERYTHING), sold.rows())
    assert _same(
        sold.left(COUNTS), [{"user_id": user, "total_sales_count": len(all_)} for user, all_ in quantities.items()]
    )
    assert _same(
        sold.left(AVERAGES),
        [
            {"user_id": user, "total_sales_count": len(all_), "avg_quantity": averages[user]}
            for user, all_ in quantities.items()
        ],
    )
    assert _same(sold.left(LARGE), [row for row in sold.rows() if int(row["quantity"]) > 3])
    assert _same(
        sold.left(LARGER),
        [
            {**row, "avg_quantity": averages[row["user_id"]]}
            for row in sold.rows()
            if int(row["quantity"]) > averages[row["user_id"]] * 3
        ],
    )
    for pattern in (ONE, TWO, UNUSUAL):
        found = sold.left(pattern)
        wanted = [tuple(map(_plain, row)) for row in sold.queried(pattern)]
        assert _same(found, [dict(zip(found[0], row, strict=True)) for row in wanted])

    batch = "SET 'execution.runtime-mode' = 'batch'"
    assert sold.changes(batch, CREATE_SINK, INSERT) == []
    written = [record.value.decode() for record in asyncio.run(read(world.servers, SINK))]
    assert len(written) > 20
    assert Counter(written) == Counter(map(as_csv, sold.queried(UNUSUAL)))
