"""``anomaly generate payments``: card payments and their devices in two topics, and which of them are frauds."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from anomaly_app.cli.output import note, progress

if TYPE_CHECKING:
    from anomaly_app.generators import Generated
    from anomaly_app.generators.encode import RegistryAccess
    from anomaly_app.generators.payments import PaymentRecord
    from anomaly_app.settings import LoadedSettings

TRUTH = "truth.jsonl"
"""In the folder of the records, if it is not said where."""


def generate_payments(
    payments: int | None,
    rate: float | None,
    seed: int,
    fraud: float | None,
    start_ms: int,
    output: Path | None,
    truth: Path | None,
    partitions: int,
    loaded: LoadedSettings,
) -> None:
    """Generate payments and devices, to Kafka or to a folder with a file for each topic.

    Args:
        payments: how many; devices come beside them; None to go on until Ctrl-C.
        rate: payments per second; 0 as fast as it goes, of the usual number per second of their own time.
        seed: of everything.
        fraud: share of planted frauds; None for the usual one.
        start_ms: time of the first payment.
        output: folder; None for Kafka.
        truth: where the planted frauds are told; None for nowhere, or into the folder.
        partitions: of a topic that is created.
        loaded: how Kafka and the registry are reached.

    Raises:
        BrokerError: a topic cannot be created, or takes no records.
        RegistryError: the registry is not given, unreachable, or refuses a schema.
    """
    from anomaly_app.cli.generate_kafka import to_kafka
    from anomaly_app.generators import payments as stream
    from anomaly_app.generators.encode import RegistryAccess

    made = stream.payments(seed, payments, start_ms, rate or stream.RATE, stream.FRAUD if fraud is None else fraud)
    if output is not None and payments is None:
        raise typer.BadParameter("a folder needs --records, or it would never end", param_hint="--output")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        truth = truth or output / TRUTH
    frauds: Counter[str] = Counter()
    with ExitStack() as files:
        told = None if truth is None else files.enter_context(truth.open("wb"))
        watched = _watched(made, told, frauds)
        if output is None:
            settings = loaded.settings.registry
            password = settings.password.get_secret_value()
            registry = RegistryAccess(settings.url, settings.username, password, settings.ca_file)
            records = encoded(watched, registry)
            topics = (stream.TRANSACTIONS, stream.IDENTITIES)
            asyncio.run(to_kafka(records, None, lambda value: value, topics, partitions, rate != 0, loaded))
        else:
            _to_folder(watched, output, payments, files)
    if truth is not None:
        note(f"{frauds.total():,} frauds planted, told in {truth}")


def _watched(records: Iterator[PaymentRecord], told: IO[bytes] | None, frauds: Counter[str]) -> Iterator[PaymentRecord]:
    import msgspec

    for record in records:
        if record.fraud:
            frauds[record.fraud] += 1
            if told is not None:
                told.write(msgspec.json.encode({"TransactionID": record.number, "fraud": record.fraud}) + b"\n")
                told.flush()
        yield record


def _to_folder(records: Iterator[PaymentRecord], output: Path, payments: int | None, files: ExitStack) -> None:
    import msgspec

    from anomaly_app.generators.payments import IDENTITIES, TRANSACTIONS

    of_topic = {
        topic: files.enter_context((output / f"{topic}.jsonl").open("wb")) for topic in (TRANSACTIONS, IDENTITIES)
    }
    done: Counter[str] = Counter()
    with progress("payments") as bar:
        task = bar.add_task(f"to {output}", total=payments)
        for record in records:
            line = {"TransactionID": record.number, **record.value, "Timestamp": _text(record.timestamp_ms)}
            of_topic[record.topic].write(msgspec.json.encode(line) + b"\n")
            done[record.topic] += 1
            if done.total() % 1_000 == 0:
                bar.update(task, completed=done[TRANSACTIONS])
    note(f"{done[TRANSACTIONS]:,} payments and {done[IDENTITIES]:,} devices in {output}")


def _text(time_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(time_ms / 1_000, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{time_ms % 1_000:03d}"


def encoded(records: Iterator[PaymentRecord], registry: RegistryAccess) -> Iterator[Generated]:
    """Records with key and value as bytes, in Avro with the schemas of the tutorial.

    Args:
        records: of both topics.
        registry: where the schemas are registered.

    Raises:
        RegistryError: it is not given, unreachable, or refuses a schema.
    """
    from anomaly_app.generators import Generated
    from anomaly_app.generators.encode import avro_encoder
    from anomaly_app.generators.payments import IDENTITIES, TRANSACTIONS, avro_key_schema, avro_schema

    topics = (TRANSACTIONS, IDENTITIES)
    keys = {topic: avro_encoder(registry, f"{topic}-key", avro_key_schema(topic)) for topic in topics}
    values = {topic: avro_encoder(registry, f"{topic}-value", avro_schema(topic)) for topic in topics}
    for record in records:
        key = keys[record.topic]({"TransactionID": record.number})
        yield Generated(record.topic, key, values[record.topic](record.value), record.timestamp_ms)
