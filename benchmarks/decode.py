"""Records to rows and rows to records, by format, against ``orjson.loads`` of the same sales in one run.

::

    python benchmarks/decode.py [--rows 200000] [--json FILE]

Sales of five text columns and an event time from the record, in batches of 5,000; the time of the best of three runs.
``typed`` reads a number and a timestamp from the value too. The ratio is rows/s to that of the reference, which takes
each JSON record to a dict and makes no rows.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import orjson

from anomaly_app.formats.records import RecordDecoder, RecordEncoder
from anomaly_app.formats.registry import Registry
from anomaly_app.jobs.topic_tables import Format, Sink, Source
from anomaly_app.operators import Layout
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Origin, Schema
from anomaly_app.testing.registry import RegistryServer

BATCH_ROWS, RUNS = 5_000, 3
NAMES = ("user_id", "product_id", "invoice_id", "quantity", "unit_cost")
AVRO = {
    "type": "record",
    "name": "Sales",
    "namespace": "com.github.streamshub.kafka.data.generator.schema",
    "fields": [{"name": name, "type": "string"} for name in NAMES],
}


class Message(NamedTuple):
    """A record of the topic."""

    value: bytes
    offset: int
    timestamp: int
    key: bytes | None = None
    topic: str = "flink.sales.records"
    partition: int = 0


def sales(count: int, seed: int = 7) -> list[dict[str, str]]:
    choose = random.Random(seed)
    return [
        {
            "user_id": f"user-{choose.randrange(100)}",
            "product_id": str(choose.randrange(200)),
            "invoice_id": str(choose.getrandbits(63)),
            "quantity": str(choose.randint(1, 3)),
            "unit_cost": f"£{choose.randint(1, 1000)}",
        }
        for _ in range(count)
    ]


def messages(payloads: list[bytes]) -> list[list[Message]]:
    made = [Message(value, number, 1_700_000_000_000 + number) for number, value in enumerate(payloads)]
    return [made[start : start + BATCH_ROWS] for start in range(0, len(made), BATCH_ROWS)]


def rate(rows: int, work: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(RUNS):
        gc.collect()
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return rows / best


def source(format_: str, columns: tuple[Column, ...], rowtime: str) -> Source:
    names = tuple(column.name for column in columns if column.origin is Origin.VALUE)
    return Source("sales", Schema(columns, rowtime, 1_000), "flink.sales.records", Format(format_), value_fields=names)


async def measure(count: int) -> dict[str, Any]:
    made = sales(count)
    stamp = Column("purchase_time", TIMESTAMP_3, Origin.METADATA, "timestamp")
    plain = (*(Column(name, STRING) for name in NAMES), stamp)
    typed = (Column("user_id", STRING), Column("quantity", INT), Column("at", TIMESTAMP_3))
    texts = [orjson.dumps(sale) for sale in made]
    reference = rate(count, lambda: [orjson.loads(text) for text in texts])
    parsed = fastavro.parse_schema(AVRO)

    def avro(sale: dict[str, str], header: bytes) -> bytes:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed, sale)
        return header + stream.getvalue()

    at = [f"2025-07-10 14:07:{number % 60:02d}.{number % 1000:03d}" for number in range(count)]
    async with RegistryServer() as server:
        registry = Registry(server.url)
        id_ = await registry.register("flink.sales.records-value", json.dumps(AVRO))
        header = b"\0" + id_.to_bytes(4, "big")
        inputs = {
            "json": ("json", plain, stamp.name, texts),
            "csv": ("csv", plain, stamp.name, [",".join(sale.values()).encode() for sale in made]),
            "avro": ("avro-confluent", plain, stamp.name, [avro(sale, header) for sale in made]),
            "json typed": (
                "json",
                typed,
                "at",
                [
                    orjson.dumps({"user_id": sale["user_id"], "quantity": int(sale["quantity"]), "at": when})
                    for sale, when in zip(made, at, strict=True)
                ],
            ),
            "csv typed": (
                "csv",
                typed,
                "at",
                [
                    f'{sale["user_id"]},{sale["quantity"]},"{when}"'.encode()
                    for sale, when in zip(made, at, strict=True)
                ],
            ),
        }
        decoded = {}
        for name, (format_, columns, rowtime, payloads) in inputs.items():
            decoder = RecordDecoder(source(format_, columns, rowtime), Layout(columns), registry)
            batches = messages(payloads)
            await decoder.prepare(batches[0])
            found = sum(len(decoder.decode(batch, 0).rows) for batch in batches)
            assert found == count, f"{name}: {found} rows of {count}"
            decoded[name] = rate(count, lambda: [decoder.decode(batch, 0) for batch in batches])  # noqa: B023
        rows = [(sale["user_id"], int(sale["quantity"]), 1_752_156_422_697 + n) for n, sale in enumerate(made)]
        encoded = {}
        for format_ in ("json", "csv", "avro-confluent"):
            sink = Sink("out", typed, "out", Format(format_), Format("raw"), ("user_id",), tuple(c.name for c in typed))
            encoder = RecordEncoder(sink, registry)
            await encoder.prepare()
            encoded[format_.partition("-")[0]] = rate(count, lambda: [encoder.encode(row) for row in rows])  # noqa: B023
        await registry.close()
    return {
        "benchmark": "decode",
        "rows": count,
        "python": platform.python_version(),
        "reference": {"what": "orjson.loads of each JSON record", "rows_per_s": round(reference)},
        "decode": {
            name: {"rows_per_s": round(value), "ratio": round(value / reference, 3)} for name, value in decoded.items()
        },
        "encode": {name: {"rows_per_s": round(value)} for name, value in encoded.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--json", type=Path, help="file for the result, besides standard output")
    options = parser.parse_args()
    result = json.dumps(asyncio.run(measure(options.rows)), indent=2)
    print(result)
    if options.json:
        options.json.write_text(result + "\n", "utf-8")


if __name__ == "__main__":
    main()
