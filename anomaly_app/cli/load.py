"""``anomaly load``: rows of a file into a topic, as its schema says."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly_app.cli.options import Broker, ConfigFile, RegistryUrl, Set, load as load_settings
from anomaly_app.cli.output import note, progress

if TYPE_CHECKING:
    from anomaly_app.cli.files import FileTable
    from anomaly_app.jobs.topic_tables import Sink
    from anomaly_app.runtime.loading import LoadRow
    from anomaly_app.schema import Column

CHUNK_ROWS = 5_000
SHOWN = 5
"""Rows that cannot be read, of which the reason is told; and columns that are missing, of which the name is."""


def load(
    file: Annotated[Path, typer.Argument(help="A .csv (with a header), .jsonl or .parquet file.", metavar="FILE")],
    topic: Annotated[str, typer.Option(help="Where the rows go.")],
    schema: Annotated[
        Path,
        typer.Option(help=".avsc: the Avro schema of the values; or .sql: a file with the topic's CREATE TABLE."),
    ],
    key: Annotated[str, typer.Option(help="With .avsc: columns of the key, such as TransactionID.")] = "",
    now: Annotated[str | None, typer.Option(help="Column that gets the time at which its row is written.")] = None,
    gaps: Annotated[
        str | None, typer.Option(help="Column of seconds whose gaps are kept; else as fast as it goes.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.001, help="With --gaps: how many times as fast.")] = 1.0,
    again: Annotated[
        bool, typer.Option("--again", help="From the first row, though rows of the file are there.")
    ] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Of the topic, if it has to be created.")] = 8,
    broker: Broker = None,
    registry: RegistryUrl = None,
    config: ConfigFile = None,
    set: Set = None,
) -> None:
    """Write the rows of a file to a topic; started again, it goes on where it stopped.

    Columns that the file has and the schema does not are left out. Credentials come from the settings: give each
    producer a file of its own with --config.

    Example: anomaly load sales.csv --topic sales --schema sales.avsc --key sale_id --now sold_at
    """
    from anomaly_app.cli.files import read_table
    from anomaly_app.errors import DataError
    from anomaly_app.jobs.table_files import sink_of
    from anomaly_app.runtime.loading import load_rows

    loaded = load_settings(config, set, {"kafka.bootstrap_servers": broker, "registry.url": registry})
    sink, table = sink_of(schema, topic, key), read_table(file)
    filler = _filler(sink, now)
    names = [column.name for column in sink.columns if column.name != now]
    missing = [name for name in [*names, *([gaps] if gaps else [])] if name not in table.names]
    if missing:
        more = f" and {len(missing) - SHOWN} others" if len(missing) > SHOWN else ""
        raise DataError(f"{file} has no column {', '.join(missing[:SHOWN])}{more}")
    rejected: list[tuple[str, str]] = [(f"line {line.line}", line.reason) for line in table.unreadable]
    rows = _rows(sink, table, now, rejected, gaps, speed)
    digest = hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
    name = f"{file.name}:{digest}" + (f":{time.time_ns()}" if again else "")
    began = time.monotonic()
    with progress("rows") as bar:
        task = bar.add_task(f"to {topic}", total=len(table))
        work = load_rows(
            sink, rows, name, loaded,
            partitions=partitions, fill=filler, progress=lambda number: bar.update(task, completed=number),
        )  # fmt: skip
        done = asyncio.run(work)
    there = f", {done.there:,} were there" if done.there else ""
    note(f"{done.written:,} rows to {topic} in {time.monotonic() - began:.1f} s{there}")
    if rejected:
        for place, reason in rejected[:SHOWN]:
            note(f"{place}: {reason}")
        note(f"{len(rejected):,} rows could not be read and were left out")
        raise typer.Exit(1)


def _filler(sink: Sink, now: str | None) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if now is None:
        return lambda values: values
    from anomaly_app.schema import TIMESTAMPS, units_per_second

    names = [column.name for column in sink.columns]
    if now not in names or sink.columns[names.index(now)].type.kind not in TIMESTAMPS:
        raise typer.BadParameter(f"the schema has no column {now} of a time", param_hint="--now")
    place = names.index(now)
    per_ms = units_per_second(sink.columns[place].type) // 1_000

    def fill(values: Sequence[Any]) -> Sequence[Any]:
        return (*values[:place], time.time_ns() // 1_000_000 * per_ms, *values[place + 1 :])

    return fill


def _rows(
    sink: Sink, table: FileTable, now: str | None, rejected: list[tuple[str, str]], gaps: str | None, speed: float
) -> Iterator[LoadRow]:
    from anomaly_app.runtime.loading import LoadRow

    wanted = [column for column in sink.columns if column.name != now]
    empty = [_may_be_empty(column) for column in wanted]
    read = [_nullable(column) if fill else column for column, fill in zip(wanted, empty, strict=True)]
    place = next((number for number, column in enumerate(sink.columns) if column.name == now), None)
    seconds = table.values(gaps) if gaps else None
    at: float | None = None
    before: float | None = None
    for chunk in table.chunks(read, CHUNK_ROWS):
        rejected += [(table.place(one.number), one.reason) for one in chunk.rejected]
        for position, values in zip(chunk.positions, zip(*chunk.columns, strict=True), strict=True):
            row = ["" if fill and value is None else value for value, fill in zip(values, empty, strict=True)]
            if place is not None:
                row.insert(place, 0)
            wait = 0.0
            if seconds is not None:
                try:
                    at = float(seconds[position])
                except (TypeError, ValueError):  # its row has no gap in front
                    at = before
                if at is not None and before is not None:
                    wait = max(0.0, at - before) / speed
                before = at
            yield LoadRow(position + 1, row, wait)


def _may_be_empty(column: Column) -> bool:
    """A text that is not NULL is empty where the file has nothing."""
    from anomaly_app.schema import TEXTS

    return column.type.kind in TEXTS and not column.type.nullable


def _nullable(column: Column) -> Column:
    from dataclasses import replace

    return replace(column, type=column.type.with_nullable(True))
