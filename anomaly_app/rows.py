"""Tables in memory: what a query is given, as rows of the engine."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anomaly_app.changes import Change
from anomaly_app.errors import DataError, SqlValidationError
from anomaly_app.schema import TIMESTAMP_3, TIMESTAMPS, Changelog, Column, Kind, Origin, Schema, units_per_second

if TYPE_CHECKING:
    from anomaly_app.incoming import Chunk, Rejected, Table
    from anomaly_app.jobs.binder import BoundTable
    from anomaly_app.operators import Row

BATCH_ROWS = 5_000


@dataclass(slots=True)
class Rows:
    """A table for :func:`query`: columns, rows in order of arrival, and what they are ordered by.

    Args:
        columns: name and SQL type of each column. May be left out for a frame, whose types are then taken.
        rows: tuples (or any sequences) of Python values, or of the text that SQL would cast; or a pandas or Polars
            frame or a pyarrow table. A row that cannot be read, or has no event time, is rejected and the others go
            on, as in the worker.
        rowtime: name of the event-time column; its rows may come in disorder.
        watermark_delay_ms: bound on that disorder in milliseconds; rows that come later are late and dropped.
        proctime: name of an additional processing-time column: rows in order of arrival, without watermark.
        changelog: ``append``; ``upsert`` if a row takes the place of the one with the same primary key; ``all`` if rows
            come and go. "" for what CREATE TABLE says.
        kinds: of an ``upsert`` or ``all`` table, what each row does: ``+I``, ``-U``, ``+U``, ``-D``. Without them an
            ``upsert`` table has updates only.

    Without ``rowtime`` and ``proctime`` the table has no time attribute.

    Example:
        >>> Rows(columns=[("id", "INT")], rows=[(1,), ("2",)]).columns
        [('id', 'INT')]
    """

    columns: Sequence[tuple[str, str]] = ()
    rows: Any = ()
    rowtime: str | None = None
    watermark_delay_ms: int = 0
    proctime: str | None = None
    changelog: str = ""
    kinds: Sequence[str] = ()


def table_rows(table: Rows, bound: BoundTable) -> tuple[list[Row], list[Rejected]]:
    """All rows of a table in the engine's layout, and those that cannot be read.

    Args:
        table: its rows.
        bound: its columns.

    Raises:
        DataError: the table cannot be read at all.
    """
    rows: list[Row] = []
    rejected: list[Rejected] = []
    for batch, wrong in batches_of(table, bound):
        rows += batch
        rejected += wrong
    return rows, rejected


def as_rows(table: Any) -> Rows:
    """The table with what tells its columns: itself, or its frame."""
    from anomaly_app.frames import as_table
    from anomaly_app.incoming import Table

    given: Rows = table if isinstance(table, Rows) else Rows(rows=table)
    if isinstance(given.rows, Table):
        return given
    frame = as_table(given.rows)
    if frame is None:
        if not isinstance(table, Rows):
            expected = "Rows, a pandas or Polars frame, or a pyarrow table"
            raise DataError(f"a table is given as {type(table).__name__}: it must be {expected}")
        return given
    rowtime, delay = given.rowtime, given.watermark_delay_ms
    columns = given.columns or frame.columns
    timestamps = [name for name, type_ in columns if type_.startswith("TIMESTAMP")]
    if rowtime is None and given.proctime is None and len(timestamps) == 1:
        # A frame is complete: its one timestamp orders it, and no row of it can be late.
        rowtime, delay = timestamps[0], _NEVER_LATE_MS
    return Rows(columns, frame, rowtime, delay, given.proctime)


_NEVER_LATE_MS = 1 << 60


def schema_of(table: Rows) -> Schema:
    """Columns and time attribute of a table that says its columns."""
    from anomaly_app.sql import parse_type

    columns = [Column(name, parse_type(type_)) for name, type_ in table.columns]
    names = [column.name for column in columns]
    if table.proctime is not None:
        columns.append(Column(table.proctime, parse_type("TIMESTAMP_LTZ(3) NOT NULL"), Origin.PROCTIME))
    if table.rowtime is not None and table.rowtime not in names:
        raise SqlValidationError(f"rowtime {table.rowtime!r} is not a column; the columns are {', '.join(names)}")
    rowtime = next((column.type for column in columns if column.name == table.rowtime), TIMESTAMP_3)
    if rowtime.kind not in TIMESTAMPS | {Kind.BIGINT}:
        expected = "a TIMESTAMP or TIMESTAMP_LTZ, or BIGINT of milliseconds"
        raise SqlValidationError(f"rowtime {table.rowtime!r} is {rowtime}: it must be {expected}")
    return Schema(tuple(columns), table.rowtime, table.watermark_delay_ms, table.proctime)


def to_python_rows(columns: Sequence[Column], first: int) -> Callable[[Sequence[Any]], list[tuple[Any, ...]]]:
    """A function from tuples in memory form, whose columns begin at ``first``, to tuples of Python values."""
    from anomaly_app.formats.rowcode import rows_function
    from anomaly_app.formats.values import to_python

    return rows_function(
        [f"r[{first + number}]" for number in range(len(columns))], [to_python(column.type) for column in columns]
    )


def batches_of(table: Rows, bound: BoundTable) -> Iterator[tuple[list[Row], list[Rejected]]]:
    """Rows in the engine's layout, converted and checked, some thousand at a time; and those that cannot be read."""
    from anomaly_app.eventtime import with_times
    from anomaly_app.incoming import ColumnsComputer, no_collection, without
    from anomaly_app.operators import MIN_WATERMARK, TIME

    schema = bound.schema
    given = _table(table, schema)
    names = given.names
    wanted = _given_columns(schema)
    for column in wanted:
        if column.name not in names and not given.absent_is_null:
            raise DataError(
                f"the rows of table {bound.name} have no column {column.name!r}; they have {', '.join(names)}"
            )
    computer = ColumnsComputer(schema, wanted)
    back = to_python_rows(wanted, 0)
    wanted = [column for column in schema.columns if column.origin is not Origin.PROCTIME]
    proctime = next((number for number, c in enumerate(schema.columns) if c.origin is Origin.PROCTIME), None)
    rowtime = next((number for number, column in enumerate(wanted) if column.name == schema.rowtime), None)
    per_ms = 1 if rowtime is None else units_per_second(wanted[rowtime].type) // 1_000
    kinds, upserts, highest = _kinds(table, schema), schema.changelog is Changelog.UPSERT, MIN_WATERMARK
    for read in given.chunks(computer.given, BATCH_ROWS):

        def shown(place: int, columns: Sequence[Sequence[Any]] = read.columns) -> tuple[Any, ...]:
            return back([[column[place] for column in columns]])[0]

        chunk, wrong = computer.compute(read)
        if rowtime is not None and None in chunk.columns[rowtime]:
            reason = f"the event time {schema.told(wanted[rowtime])} is NULL"
            missing = [
                place
                for place, time in enumerate(chunk.columns[rowtime])
                if time is None and not (upserts and kinds is not None and kinds(chunk.positions[place]) % 2)
            ]
            wrong = {**dict.fromkeys(missing, reason), **wrong}
        chunk = without(chunk, wrong, shown)
        with no_collection():
            rows = _rows(chunk, rowtime, per_ms, proctime, kinds)
        if upserts and rowtime is not None and rows:
            rows = list(with_times(rows, highest))
            highest = max(highest, max(row[TIME] for row in rows))
        yield rows, chunk.rejected


def _kinds(table: Rows, schema: Schema) -> Callable[[int], int] | None:
    """What the row at a place in the table does; None for a table that is never taken back from."""
    if schema.changelog is Changelog.APPEND:
        return None
    if not table.kinds:
        plain = Change.AFTER if schema.changelog is Changelog.UPSERT else Change.INSERT
        return lambda place: plain.value
    kinds = [Change.of(symbol).value for symbol in table.kinds]
    if schema.changelog is Changelog.UPSERT:  # an upsert is an upsert, whether there was a row before or not
        kinds = [kind if kind % 2 else Change.AFTER.value for kind in kinds]
    return kinds.__getitem__


def _rows(
    chunk: Chunk, rowtime: int | None, per_ms: int, proctime: int | None, kinds: Callable[[int], int] | None
) -> list[Row]:
    columns, count = list(chunk.columns), len(chunk.positions)
    times: Sequence[int | None] = [0] * count
    now = clock.time_ns() // 1_000_000
    if rowtime is not None:
        times = (
            columns[rowtime] if per_ms == 1 else [None if time is None else time // per_ms for time in columns[rowtime]]
        )
    elif proctime is not None:
        times = [now] * count
    if proctime is not None:
        columns.insert(proctime, [now] * count)
    if kinds is not None:
        columns.append([kinds(place) for place in chunk.positions])
    return list(zip(times, chunk.positions, *columns, strict=True))


def _given_columns(schema: Schema) -> list[Column]:
    """The columns that rows of a table bring; the others come of them, or of the clock."""
    return [column for column in schema.columns if column.origin not in (Origin.PROCTIME, Origin.COMPUTED)]


def _table(table: Rows, schema: Schema) -> Table:
    from anomaly_app.incoming import Table, TupleTable

    if isinstance(table.rows, Table):
        return table.rows
    declared = [column.name for column in _given_columns(schema)]
    return TupleTable([name for name, _ in table.columns] or declared, table.rows)
