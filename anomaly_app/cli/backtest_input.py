"""Files as the topics of a backtest: one for each table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_app.errors import DataError

if TYPE_CHECKING:
    from anomaly_app.cli.files import FileTable
    from anomaly_app.jobs.model import Job
    from anomaly_app.jobs.topic_tables import Source
    from anomaly_app.runtime.rehearsal import PlainRecord

SLICES = 200
"""Files are read side by side in so many parts: of the same period, they move time together."""


def over_files(job: Job) -> Job:
    """A job whose tables are files: records are JSON, whatever the topics have."""
    plans = []
    for plan in job.plans:
        joint = tuple(replace(one, source=_as_json(one.source)) for one in plan.joint)
        plans.append(replace(plan, source=_as_json(plan.source), joint=joint))
    return replace(job, plans=tuple(plans))


def _as_json(source: Source) -> Source:
    from anomaly_app.jobs.topic_tables import Format
    from anomaly_app.schema import Origin

    columns = [column for column in source.schema.columns if column.origin in (Origin.VALUE, Origin.KEY)]
    if source.value_format.name == "json" and source.key_format is None:
        return source
    plain = tuple(replace(c, origin=Origin.VALUE, field=None) if c in columns else c for c in source.schema.columns)
    return replace(
        source, schema=replace(source.schema, columns=plain), value_format=Format("json"), key_format=None,
        key_fields=(), value_fields=tuple(column.name for column in columns),
    )  # fmt: skip


class Files:
    """Files as topics of one partition each: row by row a record, whose offset is the row's number from 0.

    Args:
        paths: by table, of every table that the job reads.
        topics: topic of each of these tables.
        stamps: column of each table that is the record's timestamp, if it has one.

    Raises:
        DataError: a file cannot be read.
    """

    def __init__(self, paths: Mapping[str, Path], topics: Mapping[str, str], stamps: Mapping[str, str]) -> None:
        from anomaly_app.cli.files import read_table

        self._tables = {table: read_table(path) for table, path in paths.items()}
        self._topics, self._stamps = topics, stamps

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(map(len, self._tables.values()))

    @property
    def unreadable(self) -> int:
        """Lines that are no rows."""
        return sum(len(table.unreadable) for table in self._tables.values())

    def batches(self) -> Iterator[list[PlainRecord]]:
        """Records of one table after those of another, in slices."""
        made = {
            table: _records(file, self._topics[table], self._stamps.get(table)) for table, file in self._tables.items()
        }
        sizes = {table: len(file) for table, file in self._tables.items()}
        for part in range(SLICES):
            for table, records in made.items():
                count = sizes[table] * (part + 1) // SLICES - sizes[table] * part // SLICES
                batch = list(islice(records, count))
                if batch:
                    yield batch


def _records(file: FileTable, topic: str, stamp: str | None) -> Iterator[PlainRecord]:
    import msgspec

    from anomaly_app.cli.files import JsonLines
    from anomaly_app.formats.plain import plain
    from anomaly_app.runtime.rehearsal import PlainRecord

    times: Sequence[Any] = file.values(stamp) if stamp is not None else ()
    if isinstance(file, JsonLines):
        for number, line in enumerate(file.raw):
            yield PlainRecord(topic, 0, number, _stamp(times[number]) if times else -1, None, line)
        return
    encode, names = msgspec.json.encode, file.names
    for number, row in enumerate(file.own_rows()):
        value = {name: plain(cell, "") for name, cell in zip(names, row, strict=True) if cell is not None}
        yield PlainRecord(topic, 0, number, _stamp(times[number]) if times else -1, None, encode(value))


def _stamp(value: Any) -> int:
    from datetime import datetime

    from anomaly_app.alerts.truth import milliseconds

    if isinstance(value, datetime):
        value = value.isoformat()
    try:
        return -1 if value is None else milliseconds(value)
    except ValueError as error:
        raise DataError(f"{value!r} is no time of a record") from error


def stamps_of(job: Job) -> dict[str, str]:
    """The column of each table that is its record's timestamp; raises DataError for other metadata."""
    from anomaly_app.schema import Origin

    found = {}
    for plan in job.plans:
        for source in plan.tables:
            for column in source.schema.columns:
                if column.origin is not Origin.METADATA:
                    continue
                if column.source_name != "timestamp":
                    problem = (
                        f"table {source.name}: column {column.name}: a file has no metadata {column.source_name!r}"
                    )
                    raise DataError(f"{problem}: take the topic itself (--from)")
                found[source.name] = column.name
    return found
