"""``anomaly generate``: records of a synthetic stream, to Kafka or to a file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly_app.cli.options import Broker, ConfigFile, RegistryUrl, Set, load
from anomaly_app.cli.output import note, progress

if TYPE_CHECKING:
    from anomaly_app.generators import Generated, Generator
    from anomaly_app.generators.encode import Encoder
    from anomaly_app.settings import LoadedSettings

PARTITIONS = 8


def generate(
    stream: Annotated[
        str, typer.Argument(help="sales, clicks, international-sales, orders, transactions, retail or payments.")
    ] = "sales",
    records: Annotated[int | None, typer.Option(min=1, help="How many; without it until Ctrl-C.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Per second: 100, of retail 4 sales, of payments 20; 0: as fast as it goes."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same records.")] = 1,
    rare: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Probability of an unusual quantity or amount, of a burst of refunds (retail), of a fraud (payments).",
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Of the records in Kafka: avro, csv or json; else avro, of retail json.")
    ] = None,
    registry: RegistryUrl = None,
    broker: Broker = None,
    topic: Annotated[str | None, typer.Option(help="In place of the tutorial's topic.")] = None,
    partitions: Annotated[int, typer.Option(min=1, help="Of the topic, if it has to be created.")] = PARTITIONS,
    output: Annotated[
        Path | None,
        typer.Option(
            help="A .csv, .jsonl or .parquet file in place of Kafka; of retail and payments a folder.", metavar="FILE"
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Of retail and payments: where it is told what was planted.", metavar="FILE")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Time of the first record, such as '2026-01-01 09:00:00' (UTC); else now.")
    ] = None,
    config: ConfigFile = None,
    set: Set = None,
) -> None:
    """Generate records with the distributions of the tutorials, to Kafka or to a file.

    Example: anomaly generate sales --rate 100 --rare 0.02 --format json --broker localhost:9092

    Example: anomaly generate sales --records 10000 --output sales.csv

    Example: anomaly generate retail --records 100000 --output retail --start '2026-01-01 09:00:00'
    """
    from anomaly_app.generators import GENERATORS, usual_rarity
    from anomaly_app.generators.encode import FORMATS

    if stream == "retail":
        from anomaly_app.cli.generate_retail import generate_retail

        if format not in (None, "json"):
            raise typer.BadParameter("the records of retail are json", param_hint="--format")
        if topic is not None:
            raise typer.BadParameter("retail has four topics of its own", param_hint="--topic")
        begin = _start_ms(start, records, 4.0 if rate is None else rate)
        loaded = load(config, set, {"kafka.bootstrap_servers": broker})
        generate_retail(records, rate, seed, rare, begin, output, truth, partitions, loaded)
        return
    if stream == "payments":
        from anomaly_app.cli.generate_payments import generate_payments

        if format not in (None, "avro"):
            raise typer.BadParameter("the records of payments are avro", param_hint="--format")
        if topic is not None:
            raise typer.BadParameter("payments have two topics of their own", param_hint="--topic")
        begin = _start_ms(start, records, 20.0 if rate is None else rate, gap_ms=60, behind_ms=100_000)
        loaded = load(config, set, {"kafka.bootstrap_servers": broker, "registry.url": registry})
        generate_payments(records, rate, seed, rare, begin, output, truth, partitions, loaded)
        return
    if stream not in GENERATORS:
        known = ", ".join([*GENERATORS, "retail", "payments"])
        raise typer.BadParameter(f"{stream!r} should be one of {known}", param_hint="STREAM")
    if truth is not None:
        raise typer.BadParameter("only retail and payments have something planted", param_hint="--truth")
    rate, format = 100.0 if rate is None else rate, format or "avro"
    if format not in FORMATS:
        raise typer.BadParameter(f"{format!r} should be one of {', '.join(FORMATS)}", param_hint="--format")
    generator = GENERATORS[stream](usual_rarity(stream) if rare is None else rare)
    said = None if start is None else _start_ms(start, records, rate)
    stamped = _stamped(generator, seed, records, said, rate)
    if output is not None:
        _to_file(generator, stamped, records, output)
        return
    loaded = load(config, set, {"kafka.bootstrap_servers": broker, "registry.url": registry})
    topic = topic or generator.topic
    encode = _encoder(generator, format, topic, loaded)
    stamped = (record._replace(topic=topic) for record in stamped)
    from anomaly_app.cli.generate_kafka import to_kafka

    asyncio.run(to_kafka(stamped, records, encode, [topic], partitions, rate > 0, loaded))


def _stamped(
    generator: Generator, seed: int, records: int | None, start_ms: int | None, rate: float
) -> Iterator[Generated]:
    """Records; those of now begin when the first is asked for, and not before Kafka is reached."""
    begin = _start_ms(None, records, rate) if start_ms is None else start_ms
    yield from generator.records(seed, records, begin, rate or 100.0)


def _start_ms(start: str | None, records: int | None, rate: float, gap_ms: int = 10, behind_ms: int = 0) -> int:
    """Time of the first record; records are so far apart if they are not paced, and some come so much behind."""
    from anomaly_app.conversions import text_to_timestamp
    from anomaly_app.errors import EvaluationError

    if start is not None:
        try:
            return text_to_timestamp(start, 3)
        except EvaluationError:
            problem = f"{start!r} should be a time such as '2026-01-01 09:00:00'"
            raise typer.BadParameter(problem, param_hint="--start") from None
    now = time.time_ns() // 1_000_000
    # Records that are not paced lie in the past: none of them may seem to come from the future.
    return now if rate else now - (records or 0) * gap_ms - behind_ms


def _encoder(generator: Generator, format_: str, topic: str, loaded: LoadedSettings) -> Encoder:
    from dataclasses import replace

    from anomaly_app.generators.encode import RegistryAccess, create_encoder

    registry = loaded.settings.registry
    password = registry.password.get_secret_value()
    access = RegistryAccess(registry.url, registry.username, password, registry.ca_file)
    return create_encoder(replace(generator, topic=topic), format_, access)


def _to_file(generator: Generator, stamped: Iterable[Generated], records: int | None, output: Path) -> None:
    from anomaly_app.cli.files import write_table

    if records is None:
        raise typer.BadParameter("a file needs --records, or it would never end", param_hint="--output")
    columns = {name: generator.types.get(name, "string") for name in generator.csv_fields}
    with progress("records") as bar:
        task = bar.add_task(f"to {output}", total=records)

        def rows() -> Iterator[tuple[list[Any], int]]:
            for number, record in enumerate(stamped, 1):
                yield [record.value[name] for name in columns], record.timestamp_ms
                if number % 1_000 == 0:
                    bar.update(task, completed=number)

        write_table(output, columns, generator.time_column, rows())
    note(f"{records:,} records in {output}")
