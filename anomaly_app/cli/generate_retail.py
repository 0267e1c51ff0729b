"""``anomaly generate retail``: the four topics of a chain of stores in step, and what was planted in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from anomaly_app.cli.output import note, progress

if TYPE_CHECKING:
    from anomaly_app.generators import Generated
    from anomaly_app.generators.retail import RetailStream
    from anomaly_app.settings import LoadedSettings

TRUTH = "truth.jsonl"
"""In the folder of the records, if it is not said where."""


def generate_retail(
    records: int | None,
    rate: float | None,
    seed: int,
    rare: float | None,
    start_ms: int,
    output: Path | None,
    truth: Path | None,
    partitions: int,
    loaded: LoadedSettings,
) -> None:
    """Generate records, to Kafka or to a folder with a file for each table.

    Args:
        records: how many, of all topics together; None to go on until Ctrl-C.
        rate: sales per second; 0 as fast as it goes, of the usual number per second of their own time.
        seed: of everything.
        rare: probability of a burst of refunds at a sale; the other incidents follow it.
        start_ms: time of the first sale.
        output: folder; None for Kafka.
        truth: where incidents are told as they are planted; None for nowhere, or into the folder.
        partitions: of a topic that is created.
        loaded: how Kafka is reached.

    Raises:
        BrokerError: a topic cannot be created, or takes no records.
    """
    import msgspec

    from anomaly_app.cli.generate_kafka import to_kafka
    from anomaly_app.generators.retail import RATE, TABLES, TOPICS, Chances, RetailStream

    usual = Chances()
    chances = usual if rare is None else usual.times(rare / usual.burst)
    stream = RetailStream(seed, start_ms, rate or RATE, chances)
    if output is not None and records is None:
        raise typer.BadParameter("a folder needs --records, or it would never end", param_hint="--output")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        truth = truth or output / TRUTH
    with ExitStack() as files:
        told = None if truth is None else files.enter_context(truth.open("wb"))
        stamped = _watched(stream, records, told)
        if output is None:
            paced = rate is None or rate > 0
            asyncio.run(to_kafka(stamped, records, msgspec.json.encode, TOPICS, partitions, paced, loaded))
        else:
            of_topic = {
                topic: files.enter_context((output / f"{table}.jsonl").open("wb")) for topic, table in TABLES.items()
            }
            with progress("records") as bar:
                task = bar.add_task(f"to {output}", total=records)
                for number, record in enumerate(stamped, 1):
                    of_topic[record.topic].write(msgspec.json.encode(record.value) + b"\n")
                    if number % 1_000 == 0:
                        bar.update(task, completed=number)
            note(f"{records:,} records in {output}: {', '.join(f'{table}.jsonl' for table in TABLES.values())}")
    if truth is not None:
        note(f"{len(stream.incidents):,} incidents planted, told in {truth}")


def _watched(stream: RetailStream, records: int | None, told: IO[bytes] | None) -> Iterator[Generated]:
    """Records; each incident is told in front of the first record behind it."""
    import msgspec

    written, last = 0, stream.start_ms
    for record in stream.records(records):
        yield record
        last = record.timestamp_ms
        if told is not None and len(stream.incidents) > written:
            for incident in stream.incidents[written:]:
                told.write(msgspec.json.encode(incident.line()) + b"\n")
            told.flush()
            written = len(stream.incidents)
    # What was to come behind the end has not happened.
    stream.incidents[:] = [incident for incident in stream.incidents if incident.end <= last]
    if told is not None:
        told.seek(0)
        told.truncate()
        told.writelines(msgspec.json.encode(incident.line()) + b"\n" for incident in stream.incidents)
