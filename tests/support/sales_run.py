"""A job over sales, its rows, and whole runs of the worker over them."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro

from anomaly_app import Rows, query
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

COLUMNS = [("user_id", "STRING"), ("invoice_id", "STRING"), ("quantity", "INT"), ("ts", "TIMESTAMP(3)")]

JOB = """
CREATE TABLE sales (
    user_id STRING, invoice_id STRING, quantity INT, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka', 'topic' = '{source}', 'properties.bootstrap.servers' = 'elsewhere:9092',
    'scan.startup.mode' = 'earliest-offset', {format}
);
CREATE TABLE unusual (
    user_id STRING, invoice_id STRING, qty INT, average INT, at TIMESTAMP(3), PRIMARY KEY (user_id) NOT ENFORCED
) WITH (
    'connector' = 'upsert-kafka', 'topic' = '{source}.unusual', 'properties.bootstrap.servers' = 'elsewhere:9092',
    'key.format' = 'csv', 'value.format' = 'csv', 'value.fields-include' = 'ALL'
);
INSERT INTO unusual
{select}
"""
SELECT = """
SELECT * FROM sales MATCH_RECOGNIZE (
    PARTITION BY user_id ORDER BY ts
    MEASURES U.invoice_id AS invoice_id, U.quantity AS qty, AVG(T.quantity) AS average, U.ts AS at
    ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
    PATTERN (T+? U) {within}
    DEFINE U AS U.quantity > AVG(T.quantity) * 3
)
"""
WITHIN = "WITHIN INTERVAL '10' SECOND"
PLAIN = "'format' = 'json'"
KEYED = "'key.format' = 'raw', 'key.fields' = 'user_id', 'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY'"

SalesRow = tuple[str, str, int, int]
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Sale",
    "fields": [{"name": name, "type": type_} for name, type_ in [("user_id", "string"), ("invoice_id", "string")]]
    + [{"name": "quantity", "type": "int"}],
}


@dataclass
class Broker:
    servers: str
    settings: dict[str, object]
    create: Callable[[str], None]
    mock: bool = False


def sale_rows(count: int, seed: int = 1, users: int = 100) -> list[SalesRow]:
    """Sales 10 ms apart, somewhat shuffled, two of a hundred ten times as large."""
    draw = random.Random(seed)
    start = 1_760_000_000_000
    rows = [
        (
            f"user-{draw.randrange(users)}",
            str(n),
            draw.randint(1, 3) * (10 if draw.random() < 0.02 else 1),
            start + n * 10,
        )
        for n in range(count)
    ]
    for first in range(0, count, 20):
        part = rows[first : first + 20]
        draw.shuffle(part)
        rows[first : first + 20] = part
    return rows


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:23]


def records(rows: list[SalesRow], keyed: bool) -> list[Sent]:
    sent = []
    for user, invoice, quantity, ms in rows:
        value = {"invoice_id": invoice, "quantity": quantity, "ts": iso(ms)}
        key = user if keyed else str(ms)
        sent.append(Sent(key.encode(), json.dumps(value if keyed else {"user_id": user, **value}).encode(), ms))
    return sent


def encode_avro(row: SalesRow, schema_id: int = 1) -> Sent:
    user, invoice, quantity, ms = row
    buffer = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    buffer.seek(5)
    fastavro.schemaless_writer(buffer, AVRO, {"user_id": user, "invoice_id": invoice, "quantity": quantity})
    return Sent(str(ms).encode(), buffer.getvalue(), ms)


def expected(rows: list[SalesRow], within: str = WITHIN, sql: str = SELECT) -> list[tuple[Any, ...]]:
    """What an undisturbed run over the rows gives."""
    table = Rows(
        columns=COLUMNS,
        rows=[(user, invoice, quantity, iso(ms)) for user, invoice, quantity, ms in rows],
        rowtime="ts",
        watermark_delay_ms=1000,
    )
    return query(sql.format(within=within), tables={"sales": table}).rows


def csv_time(at: datetime) -> str:
    """A TIMESTAMP as Flink's CSV writes it: as many digits of the fraction as there are, in quotes for its blank."""
    fraction = f".{at.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f'"{at:%Y-%m-%d %H:%M:%S}{fraction}"'


def as_csv(row: tuple[Any, ...]) -> str:
    return ",".join(csv_time(value) if isinstance(value, datetime) else str(value) for value in row)


class Run:
    """A job over a topic of its own."""

    def __init__(self, broker: Broker, folder: Path, name: str, *, keyed: bool = False, within: str = WITHIN) -> None:
        self.broker, self.topic, self.keyed = broker, f"{name}-{time.time_ns()}", keyed
        self.job = folder / f"{name}.sql"
        select = SELECT.format(within=within)
        self.job.write_text(JOB.format(source=self.topic, format=KEYED if keyed else PLAIN, select=select))
        broker.create(self.topic)
        self.settings: dict[str, object] = {
            "kafka.bootstrap_servers": broker.servers,
            "worker.app_id": self.topic,
            "worker.data_dir": folder / "state",
            "worker.idle_timeout_s": 1,
            "kafka.session_timeout_s": 6,
            "alerts.topic": f"{self.topic}.alerts",
            **broker.settings,
        }

    def send(self, rows: list[SalesRow]) -> None:
        asyncio.run(send(self.broker.servers, self.topic, records(rows, self.keyed)))

    def start(self, **settings: object) -> WorkerProcess:
        return WorkerProcess({**self.settings, **settings}, self.job)

    def finish(self) -> None:
        with self.start(**{"worker.bounded": "true"}) as worker:
            assert worker.wait() == 0, worker.output

    def read(self, suffix: str) -> list[Any]:
        return asyncio.run(read(self.broker.servers, f"{self.topic}.{suffix}"))

    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.read("alerts")]


def until(ready: Callable[[], Any], worker: WorkerProcess, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert worker.process.poll() is None, f"the worker ended:\n{worker.output}"
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s\n{worker.output}"
        time.sleep(0.2)


def status_of(worker: WorkerProcess, path: str) -> int:
    """HTTP status; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
