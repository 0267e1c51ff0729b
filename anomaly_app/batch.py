"""Rows in, rows out: a query over data in memory, with the same engine and the same rows as the worker."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anomaly_app.changes import Change, rows_left
from anomaly_app.errors import DecodeError, SqlValidationError
from anomaly_app.rows import BATCH_ROWS, Rows, as_rows, batches_of, schema_of, table_rows, to_python_rows
from anomaly_app.schema import Changelog

if TYPE_CHECKING:
    from anomaly_app.graph.lookup import LookupTable
    from anomaly_app.incoming import Rejected
    from anomaly_app.jobs.binder import BoundQuery, BoundTable
    from anomaly_app.jobs.joint_task import JointTask
    from anomaly_app.jobs.task import PartitionTask
    from anomaly_app.operators import InnerRow, Row
    from anomaly_app.patterns.builder import Pattern
    from anomaly_app.windows import SigmaRule


log = logging.getLogger(__name__)


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


def query(
    sql: str | Pattern | SigmaRule,
    tables: Mapping[str, Any] | None = None,
    *,
    dialect: str = "flink",
    parameters: Mapping[str, str] | None = None,
    connections: Mapping[str, Mapping[str, str]] | None = None,
) -> Result:
    """Run a SELECT over rows in order of arrival, with the semantics of a stream, and flush at the end.

    Args:
        sql: a SELECT; or a job file: CREATE TABLE statements (their names are bound to ``tables``) and one SELECT or
            INSERT INTO … SELECT. Or a :class:`~anomaly_app.Pattern` or :class:`~anomaly_app.windows.SigmaRule`, which
            is about the one table given.
        tables: name of a table (a dotted path is allowed) and its :class:`Rows`, or a pandas or Polars frame or a
            pyarrow table.
        dialect: ``flink`` or ``standard`` (SQL:2016).
        parameters: values for ``${name}`` in the text, which come before those that SET gives there.
        connections: of models, by name: options such as ``endpoint`` and ``api_key``, which come before those of CREATE
            CONNECTION.

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
    result = run(sql, tables, dialect=dialect, parameters=parameters, connections=connections)
    if result.rejected and not result.read:
        first = result.rejected[0]
        raise DecodeError(f"no row of table {first.table} can be read; the first: row {first.number}: {first.reason}")
    return result


def run(
    sql: str | Pattern | SigmaRule,
    tables: Mapping[str, Any] | None = None,
    *,
    dialect: str = "flink",
    parameters: Mapping[str, str] | None = None,
    connections: Mapping[str, Mapping[str, str]] | None = None,
) -> Result:
    """The same as :func:`query`, but that it is no error if no row can be read."""
    from anomaly_app.jobs.binder import bind_text

    if not isinstance(sql, str):
        if tables is None or len(tables) != 1:
            raise SqlValidationError(f"a {type(sql).__name__} is about one table, but {len(tables or ())} are given")
        sql = sql.sql(next(iter(tables)))
    given = {name: as_rows(table) for name, table in (tables or {}).items()}
    schemas = {name: schema_of(rows) for name, rows in given.items() if rows.columns}
    changelogs = {name: Changelog(rows.changelog) for name, rows in given.items() if rows.changelog}
    bound = bind_text(sql, schemas, dialect, changelogs=changelogs, parameters=parameters, connections=connections)
    for warning in bound.warnings:
        log.warning("%s", warning)
    return run_bound(bound, given, sql)


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
    out, back = to_python_rows(factory.output, 0), to_python_rows(read.schema.columns, COLUMNS)
    told = to_python_rows(factory.evidence(layout).columns, COLUMNS)
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

    for batch, rejected in batches_of(table, read):
        result.rejected += [replace(each, table=name) for each in rejected]
        result.read += len(batch)
        if batch:
            with no_collection():
                task.process(batch, end=batch[-1][POSITION] + 1)
                _answer(task)
                take()
    task.finish()
    _answer(task)
    take()
    return result


def _answer(task: PartitionTask | JointTask) -> None:
    """Have all questions answered, and wait for that."""
    if task.waiting is None:
        return
    from anomaly_app.graph.asked import Failure
    from anomaly_app.models.client import LOOP, answer_all

    LOOP.run(answer_all(task, Failure))


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
    out, told = to_python_rows(factory.output, 0), to_python_rows(evidence.columns, COLUMNS)
    told_rows = not factory.physical.graph.roles
    result._show = lambda row: told([row])[0]
    shows = [to_python_rows(table.schema.columns, COLUMNS) for table in tables]
    owners: list[int] = []

    def read(number: int) -> Iterator[tuple[int, Row]]:
        for batch, rejected in batches_of(given[names[number]], tables[number]):
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
        _answer(task)
        take()
    task.finish()
    _answer(task)
    take()
    return result


def _inside(late: tuple[int, InnerRow]) -> LateInside:
    from anomaly_app.operators import COLUMNS

    _, row = late
    columns = row.layout.columns
    (values,) = to_python_rows(columns, COLUMNS)([row.row])
    shown = [(column, value) for column, value in zip(columns, values, strict=True) if not column.name.startswith("$")]
    return LateInside(row.node, [(c.name, str(c.type)) for c, _ in shown], tuple(value for _, value in shown))
