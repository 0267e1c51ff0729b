"""Rows in, rows out: a query over data in memory, with the same engine and the same rows as the worker."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anomaly_app.errors import SqlValidationError
from anomaly_app.schema import Column, Origin, Schema, units_per_second

if TYPE_CHECKING:
    from anomaly_app.jobs.binder import BoundQuery
    from anomaly_app.patterns.builder import Pattern
    from anomaly_app.windows import SigmaRule

BATCH_ROWS = 5_000


@dataclass(slots=True)
class Rows:
    """A table for :func:`query`: columns, rows in order of arrival, and what they are ordered by.

    Args:
        columns: name and SQL type of each column. May be left out for a frame, whose types are then taken.
        rows: tuples (or any sequences) of Python values, or of the text that SQL would cast; or a pandas or Polars
            frame or a pyarrow table.
        rowtime: name of the event-time column; its rows may come in disorder.
        watermark_delay_ms: bound on that disorder in milliseconds; rows that come later are late and dropped.
        proctime: name of an additional processing-time column: rows in order of arrival, without watermark.

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


@dataclass(slots=True)
class Result:
    """What a query gave.

    Args:
        columns: name and SQL type of each column.
        rows: tuples in order of emission. TIMESTAMP is a naive ``datetime``, TIMESTAMP_LTZ an aware one, DECIMAL a
            ``Decimal``. A time that Python's own types cannot show (before the year 1, after 9999, with nanoseconds) is
            its text.
        late: rows of the tables that came after the watermark had passed them, as tuples of all table columns.
        late_columns: name and SQL type of these.
        matches: for each row, the pattern variable and the source row (as in ``late``) of every row that it used;
            empty where a query has no pattern.
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[Any, ...]]
    late: list[tuple[Any, ...]] = field(default_factory=list)
    late_columns: list[tuple[str, str]] = field(default_factory=list)
    matches: list[list[tuple[str, tuple[Any, ...]]]] = field(default_factory=list)


def query(sql: str | Pattern | SigmaRule, tables: Mapping[str, Any] | None = None, *, dialect: str = "flink") -> Result:
    """Run a SELECT over rows in order of arrival, with the semantics of a stream, and flush at the end.

    Args:
        sql: a SELECT; or a job file: CREATE TABLE statements (their names are bound to ``tables``) and one SELECT or
            INSERT INTO … SELECT. Or a :class:`~anomaly_app.Pattern` or :class:`~anomaly_app.windows.SigmaRule`, which
            is about the one table given.
        tables: name of a table (a dotted path is allowed) and its :class:`Rows`, or a pandas or Polars frame or a
            pyarrow table.
        dialect: ``flink`` or ``standard`` (SQL:2016).

    Returns:
        Columns and rows in order of emission, and the late rows.

    Raises:
        SqlError: the text is wrong; before any row is read.
        DataError: a value does not fit its column, or an expression fails on a row.

    Example:
        >>> spikes = query(
        ...     "SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY user_id ORDER BY ts "
        ...     "MEASURES B.qty AS qty, A.qty AS before AFTER MATCH SKIP PAST LAST ROW "
        ...     "PATTERN (A B) DEFINE B AS B.qty > 3 * A.qty)",
        ...     tables={
        ...         "sales": Rows(
        ...             columns=[("user_id", "STRING"), ("qty", "INT"), ("ts", "TIMESTAMP(3)")],
        ...             rows=[("ann", 2, "2026-01-01 09:00:00.000"), ("ann", 9, "2026-01-01 09:00:01.000")],
        ...             rowtime="ts",
        ...         )
        ...     },
        ... )
        >>> spikes.columns, spikes.rows
        ([('user_id', 'STRING'), ('qty', 'INT'), ('before', 'INT')], [('ann', 9, 2)])
    """
    from anomaly_app.jobs.binder import bind_text

    if not isinstance(sql, str):
        if tables is None or len(tables) != 1:
            raise SqlValidationError(f"a {type(sql).__name__} is about one table, but {len(tables or ())} are given")
        sql = sql.sql(next(iter(tables)))
    given = {name: _as_rows(table) for name, table in (tables or {}).items()}
    schemas = {name: _schema(rows) for name, rows in given.items() if rows.columns}
    bound = bind_text(sql, schemas, dialect)
    return _run(bound, _rows_of(bound, given, sql))


def _as_rows(table: Any) -> Rows:
    if isinstance(table, Rows):
        if not table.columns and not isinstance(table.rows, (list, tuple)):
            return _from_frame(table)
        return table
    return _from_frame(Rows(rows=table))


def _from_frame(table: Rows) -> Rows:
    from anomaly_app.frames import columns_and_rows

    columns, rows = columns_and_rows(table.rows)
    rowtime, delay = table.rowtime, table.watermark_delay_ms
    timestamps = [name for name, type_ in columns if type_.startswith("TIMESTAMP")]
    if rowtime is None and table.proctime is None and len(timestamps) == 1:
        # A frame is complete: its one timestamp orders it, and no row of it can be late.
        rowtime, delay = timestamps[0], _NEVER_LATE_MS
    return Rows(columns, rows, rowtime, delay, table.proctime)


_NEVER_LATE_MS = 1 << 60


def _schema(table: Rows) -> Schema:
    from anomaly_app.sql import parse_type

    columns = [Column(name, parse_type(type_)) for name, type_ in table.columns]
    names = [column.name for column in columns]
    if table.proctime is not None:
        columns.append(Column(table.proctime, parse_type("TIMESTAMP_LTZ(3) NOT NULL"), Origin.PROCTIME))
    if table.rowtime is not None and table.rowtime not in names:
        raise SqlValidationError(f"rowtime {table.rowtime!r} is not a column; the columns are {', '.join(names)}")
    return Schema(tuple(columns), table.rowtime, table.watermark_delay_ms, table.proctime)


def _rows_of(bound: BoundQuery, given: Mapping[str, Rows], sql: str) -> Rows:
    for name, rows in given.items():
        if name == bound.source or name.replace("`", "") == bound.source:
            return rows
    folded = {name.lower(): rows for name, rows in given.items()}
    if bound.source.lower() in folded:
        return folded[bound.source.lower()]
    have = ", ".join(given) or "none"
    raise SqlValidationError(
        f"no rows are given for table {bound.source!r}; tables given: {have}", sql, *bound.source_span
    )


def _run(bound: BoundQuery, table: Rows) -> Result:
    from anomaly_app.formats.values import to_python
    from anomaly_app.jobs.task import PartitionTask, QuerySlot

    factory, layout = bound.factory, bound.layout
    slot = QuerySlot(
        "query", factory.create(layout), order_key=factory.order_key(layout), sort_key=factory.sort_key(layout)
    )
    task = PartitionTask([slot], delay_ms=bound.schema.watermark_delay_ms, mode=bound.mode)
    result = Result([(column.name, str(column.type)) for column in factory.output], [])
    result.late_columns = [(column.name, str(column.type)) for column in layout.columns]
    out = [to_python(column.type) for column in factory.output]
    back = [to_python(column.type) for column in layout.columns]

    def take() -> None:
        output = task.take()
        for _, problem in output.problems:
            raise problem.error
        for _, finding in output.findings:
            result.rows.append(_convert(out, finding.values))
            result.matches.append([(name, _convert(back, row[2:])) for name, row in finding.bindings])
        result.late += [_convert(back, row[2:]) for row in output.late]

    position = 0
    for batch in _batches(table, bound):
        task.process(batch, end=position + len(batch))
        position += len(batch)
        take()
    task.finish()
    take()
    return result


def _convert(converters: Sequence[Any], values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(
        value if convert is None or value is None else convert(value)
        for convert, value in zip(converters, values, strict=True)
    )


def _batches(table: Rows, bound: BoundQuery) -> Iterable[list[tuple[Any, ...]]]:
    """Rows in the engine's layout, converted and checked, some thousand at a time."""
    from anomaly_app.errors import DataError, DecodeError
    from anomaly_app.formats.values import to_internal

    schema = bound.schema
    names = [name for name, _ in table.columns] or [c.name for c in schema.columns if c.origin is not Origin.PROCTIME]
    places = {name: place for place, name in enumerate(names)}
    converters = []
    for column in schema.columns:
        place = places.get(column.name) if column.origin is not Origin.PROCTIME else -1
        if place is None:
            raise DataError(
                f"the rows of table {bound.source} have no column {column.name!r}; they have {', '.join(names)}"
            )
        converters.append((place, to_internal(column.type), column))
    rowtime, per_ms = None, 1
    if schema.rowtime is not None:
        rowtime = next(number for number, column in enumerate(schema.columns) if column.name == schema.rowtime)
        per_ms = units_per_second(schema.columns[rowtime].type) // 1_000
    batch: list[tuple[Any, ...]] = []
    position = 0
    for position, row in enumerate(table.rows):
        if len(row) != len(names):
            raise DecodeError(
                f"row {position + 1} of table {bound.source} has {len(row)} values for {len(names)} columns"
            )
        values: list[Any] = []
        for place, convert, column in converters:
            if place < 0:
                values.append(clock.time_ns() // 1_000_000)
                continue
            value = row[place]
            if value is not None and convert is not None:
                try:
                    value = convert(value)
                except DecodeError as error:
                    where = f"row {position + 1} of table {bound.source}, column {column.name} ({column.type})"
                    raise DecodeError(f"{where}: {error}") from error
            values.append(value)
        if rowtime is not None:
            time = values[rowtime]
            if time is None:
                raise DecodeError(f"row {position + 1} of table {bound.source}: rowtime {schema.rowtime} is NULL")
            time //= per_ms
        else:
            time = values[-1] if schema.proctime is not None else 0
        batch.append((time, position, *values))
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
