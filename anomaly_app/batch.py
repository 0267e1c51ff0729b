"""Rows in, rows out: a query over data in memory, with the same engine and the same rows as the worker."""

from __future__ import annotations

import heapq
import itertools
import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anomaly_app.changes import Change, rows_left
from anomaly_app.errors import DataError, DecodeError, SqlValidationError
from anomaly_app.schema import TIMESTAMP_3, TIMESTAMPS, Changelog, Column, Kind, Origin, Schema, units_per_second

if TYPE_CHECKING:
    from anomaly_app.graph.lookup import LookupTable
    from anomaly_app.incoming import Chunk, Rejected, Table
    from anomaly_app.jobs.binder import BoundQuery, BoundTable
    from anomaly_app.operators import InnerRow, Row
    from anomaly_app.patterns.builder import Pattern
    from anomaly_app.windows import SigmaRule

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


@dataclass(frozen=True, slots=True)
class LateInside:
    """A row that a query had made and that came too late for another part of it.

    Args:
        node: which part, as ``EXPLAIN`` calls it.
        columns: name and SQL type of its columns; only those that are needed there.
        row: their values, as in the rows of the result.
    """

    node: str
    columns: list[tuple[str, str]]
    row: tuple[Any, ...]


@dataclass(slots=True)
class Result:
    """What a query gave.

    Args:
        columns: name and SQL type of each column.
        rows: tuples in order of emission; of a result that is updated, those that are left at the end. TIMESTAMP is a
            naive ``datetime``, TIMESTAMP_LTZ an aware one, DECIMAL a ``Decimal``. A time that Python's own types
            cannot show (before the year 1, after 9999, with nanoseconds) is its text.
        late: rows of the tables that came too late and were dropped, as tuples of all table columns.
            If the query reads several tables, a row begins with the name of its table, and has the columns of all.
        late_columns: name and SQL type of these.
        late_inside: rows that the query had made, such as those of a join, and that were late for another part of it.
        rejected: rows of the tables that could not be read, and why.
        read: how many could.
        changes: of a query whose result is updated, what became of it: ``+I``, ``-U``, ``+U`` or ``-D``, and the row.
            Rows that come together change a row of the result once. Of another query each row is ``+I``.
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[Any, ...]]
    late: list[tuple[Any, ...]] = field(default_factory=list)
    late_columns: list[tuple[str, str]] = field(default_factory=list)
    late_inside: list[LateInside] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    read: int = 0
    changes: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    _kinds: list[int] = field(default_factory=list, repr=False)
    _bindings: list[Sequence[tuple[str, Row]]] = field(default_factory=list, repr=False)
    _show: Callable[[Row], tuple[Any, ...]] = field(default=tuple, repr=False, compare=False)

    @property
    def matches(self) -> list[list[tuple[str, tuple[Any, ...]]]]:
        """For each row, the pattern variable and the row of every row that it used, as the pattern saw it.

        Of a table that is a row as in ``late``. Empty where a query has no pattern.
        """
        show = self._show
        return [[(name, show(row)) for name, row in bindings] for bindings in self._bindings]


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
        Columns and rows in order of emission, the late rows, and those that could not be read.

    Raises:
        SqlError: the text is wrong; before any row is read.
        DataError: of all the rows none can be read, or an expression fails on a row.

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
    result = run(sql, tables, dialect=dialect)
    if result.rejected and not result.read:
        first = result.rejected[0]
        raise DecodeError(f"no row of table {first.table} can be read; the first: row {first.number}: {first.reason}")
    return result


def run(sql: str | Pattern | SigmaRule, tables: Mapping[str, Any] | None = None, *, dialect: str = "flink") -> Result:
    """The same as :func:`query`, but that it is no error if no row can be read."""
    from anomaly_app.jobs.binder import bind_text

    if not isinstance(sql, str):
        if tables is None or len(tables) != 1:
            raise SqlValidationError(f"a {type(sql).__name__} is about one table, but {len(tables or ())} are given")
        sql = sql.sql(next(iter(tables)))
    given = {name: as_rows(table) for name, table in (tables or {}).items()}
    schemas = {name: schema_of(rows) for name, rows in given.items() if rows.columns}
    changelogs = {name: Changelog(rows.changelog) for name, rows in given.items() if rows.changelog}
    return run_bound(bind_text(sql, schemas, dialect, changelogs=changelogs), given, sql)


def run_bound(bound: BoundQuery, given: Mapping[str, Rows], sql: str) -> Result:
    """Run a query that is bound.

    Args:
        bound: the query.
        given: the rows of each table, by name.
        sql: its text, for errors.
    """
    given = _with_files(bound, given)
    names = [_name_of(table, given, sql) for table in bound.tables]
    looked_up = fill_lookups(bound.lookups, given, sql)
    result = _run(bound, names[0], given[names[0]]) if len(names) == 1 else _run_several(bound, names, given)
    result.rejected += looked_up
    if bound.factory.node.updating:
        kinds, result._bindings = result._kinds, []
        result.changes = [(Change(kind).symbol, row) for kind, row in zip(kinds, result.rows, strict=True)]
        result.rows = rows_left(zip(kinds, result.rows, strict=True))
    else:
        result.changes = [(Change.INSERT.symbol, row) for row in result.rows]
    return result


def _with_files(bound: BoundQuery, given: Mapping[str, Rows]) -> Mapping[str, Rows]:
    """The rows that are given, and those of tables that are in files."""
    tables = [*bound.tables, *(table for _, table in bound.lookups)]
    known = {name.replace("`", "").lower() for name in given}
    files = {one.name: Rows(rows=one.file) for one in tables if one.file is not None and one.name.lower() not in known}
    return {**given, **files} if files else given


def fill_lookups(
    lookups: Sequence[tuple[LookupTable, BoundTable]], given: Mapping[str, Rows], sql: str
) -> list[Rejected]:
    """Fill tables of lookup joins; gives the rows that cannot be read.

    Args:
        lookups: as of a bound query.
        given: the rows of each table, by name.
        sql: the text of the query, for errors.
    """
    found: list[Rejected] = []
    for table, read in lookups:
        name = _name_of(read, given, sql)
        rows, rejected = table_rows(given[name], read)
        table.swap(table.load(rows))
        found += [replace(each, table=name) for each in rejected]
    return found


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
    for batch, wrong in _batches(table, bound):
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


def _name_of(table: BoundTable, given: Mapping[str, Rows], sql: str) -> str:
    """The name under which a table of the query is given."""
    for name in given:
        if name == table.name or name.replace("`", "") == table.name:
            return name
    folded = {name.lower(): name for name in given}
    if table.name.lower() in folded:
        return folded[table.name.lower()]
    have = ", ".join(given) or "none"
    raise SqlValidationError(f"no rows are given for table {table.name!r}; tables given: {have}", sql, *table.span)


def _run(bound: BoundQuery, name: str, table: Rows) -> Result:
    from anomaly_app.incoming import no_collection
    from anomaly_app.jobs.task import PartitionTask, QuerySlot
    from anomaly_app.operators import COLUMNS, POSITION

    factory, layout = bound.factory, bound.layout
    operator = factory.create(layout)
    operator.keep_nothing()
    slot = QuerySlot(
        "query",
        operator,
        needs_order=factory.needs_order,
        order_key=factory.order_key(layout),
        sort_key=factory.sort_key(layout),
    )
    (read,) = bound.tables
    task = PartitionTask([slot], delay_ms=read.schema.watermark_delay_ms, mode=read.mode)
    result = Result([(column.name, str(column.type)) for column in factory.output], [])
    result.late_columns = [(column.name, str(column.type)) for column in read.schema.columns]
    out, back = _to_python(factory.output, 0), _to_python(read.schema.columns, COLUMNS)
    told = _to_python(factory.evidence(layout).columns, COLUMNS)
    told_rows = not factory.physical.graph.roles
    result._show = lambda row: told([row])[0]

    def take() -> None:
        output = task.take()
        for _, problem in output.problems:
            raise problem.error
        result.rows += out([finding.values for _, finding in output.findings])
        result._bindings += [finding.bindings if told_rows else () for _, finding in output.findings]
        result._kinds += [finding.change for _, finding in output.findings]
        result.late += back(output.late)
        result.late_inside += map(_inside, output.late_inside)

    for batch, rejected in _batches(table, read):
        result.rejected += [replace(each, table=name) for each in rejected]
        result.read += len(batch)
        if batch:
            with no_collection():
                task.process(batch, end=batch[-1][POSITION] + 1)
                take()
    task.finish()
    take()
    return result


def _run_several(bound: BoundQuery, names: Sequence[str], given: Mapping[str, Rows]) -> Result:
    """A query over several tables, or none: their rows by event time, those of one table in their own order."""
    from anomaly_app.jobs.joint_task import JointSlot, JointTask
    from anomaly_app.operators import COLUMNS, POSITION

    factory, tables = bound.factory, bound.tables
    operator, evidence = factory.create_over({table.name: table.layout for table in tables})
    operator.keep_nothing()
    slot = JointSlot("query", operator, range(len(tables)))
    task = JointTask([slot], [table.schema for table in tables])
    result = Result([(column.name, str(column.type)) for column in factory.output], [])
    result.late_columns = [("table", "STRING NOT NULL")]
    for table, name in zip(tables, names, strict=True):
        result.late_columns += [(f"{name}.{c.name}", str(c.type.with_nullable(True))) for c in table.schema.columns]
    out, told = _to_python(factory.output, 0), _to_python(evidence.columns, COLUMNS)
    told_rows = not factory.physical.graph.roles
    result._show = lambda row: told([row])[0]
    shows = [_to_python(table.schema.columns, COLUMNS) for table in tables]
    owners: list[int] = []

    def read(number: int) -> Iterator[tuple[int, Row]]:
        for batch, rejected in _batches(given[names[number]], tables[number]):
            result.rejected += [replace(each, table=names[number]) for each in rejected]
            result.read += len(batch)
            yield from ((number, row) for row in batch)

    def late(row: Row) -> tuple[Any, ...]:
        cells: list[Any] = [names[owners[row[POSITION]]]]
        for number, table in enumerate(tables):
            cells += shows[number]([row])[0] if number == owners[row[POSITION]] else [None] * len(table.schema.columns)
        return tuple(cells)

    def take() -> None:
        output = task.take()
        for _, problem in output.problems:
            raise problem.error
        result.rows += out([finding.values for _, finding in output.findings])
        result._bindings += [finding.bindings if told_rows else () for _, finding in output.findings]
        result._kinds += [finding.change for _, finding in output.findings]
        result.late += map(late, output.late)
        result.late_inside += map(_inside, output.late_inside)

    order = sorted(range(len(names)), key=lambda number: list(given).index(names[number]))
    merged = heapq.merge(*(read(number) for number in order), key=lambda one: one[1][0])
    while part := list(itertools.islice(merged, BATCH_ROWS)):
        positioned = [
            (number, (row[0], position, *row[COLUMNS:])) for position, (number, row) in enumerate(part, len(owners))
        ]
        owners += [number for number, _ in part]
        task.process(positioned)
        take()
    task.finish()
    take()
    return result


def _inside(late: tuple[int, InnerRow]) -> LateInside:
    from anomaly_app.operators import COLUMNS

    _, row = late
    columns = row.layout.columns
    (values,) = _to_python(columns, COLUMNS)([row.row])
    shown = [(column, value) for column, value in zip(columns, values, strict=True) if not column.name.startswith("$")]
    return LateInside(row.node, [(c.name, str(c.type)) for c, _ in shown], tuple(value for _, value in shown))


def _to_python(columns: Sequence[Column], first: int) -> Callable[[Sequence[Any]], list[tuple[Any, ...]]]:
    """A function from tuples in memory form, whose columns begin at ``first``, to tuples of Python values."""
    from anomaly_app.formats.rowcode import rows_function
    from anomaly_app.formats.values import to_python

    return rows_function(
        [f"r[{first + number}]" for number in range(len(columns))], [to_python(column.type) for column in columns]
    )


def _batches(table: Rows, bound: BoundTable) -> Iterator[tuple[list[Row], list[Rejected]]]:
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
    back = _to_python(wanted, 0)
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
