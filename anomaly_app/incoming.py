"""Tables in memory to columns of the engine, some thousand rows at a time; a bad row costs only itself."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

from anomaly_app.errors import FAILURES, DataError
from anomaly_app.formats.columns import ColumnConvert, column_to_internal
from anomaly_app.formats.misfit import UNFIT, Misfit, part
from anomaly_app.formats.values import to_internal
from anomaly_app.schema import Column, Computed, Origin, Schema

UNREADABLE = (DataError, TypeError, *UNFIT)
"""What a conversion of a column raises if one of its values is not as most are."""


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection meanwhile: for a batch of rows, which hold no cycles.

    The collector counts what is made and would go through the same thousands of rows again and again: a fifth of the
    time of a query.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that could not be read.

    Args:
        number: of the row in its table, from 1.
        reason: which column is wrong, and why.
        values: as they were given.
        table: name of it, as given to the query.
    """

    number: int
    reason: str
    values: tuple[Any, ...] = ()
    table: str = ""


class Chunk(NamedTuple):
    """Some rows by columns, in memory form.

    Args:
        positions: of the rows in their table, from 0.
        columns: values of each wanted column.
        rejected: rows of the same stretch that are not among them.
    """

    positions: Sequence[int]
    columns: Sequence[Sequence[Any]]
    rejected: list[Rejected]


@runtime_checkable
class Table(Protocol):
    """Rows that come by columns."""

    @property
    def absent_is_null(self) -> bool:
        """A column that the table lacks is NULL; else to want one is an error."""

    @property
    def names(self) -> list[str]:
        """Of its columns."""

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        """All rows, of the wanted columns; at most ``size`` rows at a time."""


class TupleTable:
    """Rows as tuples, or any sequences, of Python values.

    Args:
        names: of the values of a row.
        rows: an iterable of them.

    Example:
        >>> from anomaly_app.schema import INT
        >>> table = TupleTable(["a"], [(1,), ("x",), ("2",)])
        >>> next(table.chunks([Column("a", INT)], 10))
        Chunk(positions=[0, 2], columns=[[1, 2]], rejected=[Rejected(number=2, \
reason="column a: 'x' (str) is not an INT", values=('x',), table='')])
    """

    absent_is_null = False

    def __init__(self, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.names = list(names)
        self._rows = rows

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        """See :class:`Table`."""
        names = self.names
        places = [names.index(column.name) for column in wanted]
        converter = ColumnsConverter(wanted)
        rows = iter(self._rows)
        start = 0
        while taken := list(islice(rows, size)):
            positions: Sequence[int] = range(start, start + len(taken))
            start += len(taken)
            rejected: list[Rejected] = []
            lengths = set(map(len, taken))
            if lengths != {len(names)}:
                fits = [len(row) == len(names) for row in taken]
                rejected = [
                    Rejected(position + 1, f"{len(row)} values for {len(names)} columns", tuple(row))
                    for position, row, fit in zip(positions, taken, fits, strict=True)
                    if not fit
                ]
                positions, taken = list(compress(positions, fits)), list(compress(taken, fits))
            with no_collection():  # an iterator for each row, for a moment
                columns = list(zip(*taken, strict=True)) or [()] * len(names)
            chunk = converter.convert(positions, [columns[place] for place in places])
            chunk.rejected.extend(rejected)
            yield chunk


class ColumnsConverter:
    """Converts columns of Python values to memory form.

    Args:
        wanted: the columns.
        ready: numbers of those that are in memory form already.
    """

    def __init__(self, wanted: Sequence[Column], ready: frozenset[int] = frozenset()) -> None:
        self._wanted = wanted
        self._quick: list[ColumnConvert | None] = [
            None if number in ready else column_to_internal(column.type) for number, column in enumerate(wanted)
        ]
        self._each = [
            part(column.type, None if number in ready else to_internal(column.type))
            for number, column in enumerate(wanted)
        ]

    def convert(self, positions: Sequence[int], given: Sequence[Sequence[Any]]) -> Chunk:
        """A chunk of the rows at some positions; those that cannot be read are rejected.

        Args:
            positions: of the rows.
            given: values of each column, None for NULL.
        """
        wrong: dict[int, str] = {}
        with no_collection():
            columns = [self._column(number, values, wrong) for number, values in enumerate(given)]
        return without(Chunk(positions, columns, []), wrong, lambda place: tuple([values[place] for values in given]))

    def _column(self, number: int, values: Sequence[Any], wrong: dict[int, str]) -> Sequence[Any]:
        quick, type_ = self._quick[number], self._wanted[number].type
        if type_.nullable or not any(value is None for value in values):
            if quick is None:
                return values
            try:
                return quick(values)
            except UNREADABLE:
                pass
        converted: list[Any] = []
        name, each = self._wanted[number].name, self._each[number]
        for place, value in enumerate(values):
            try:
                converted.append(each(value))
            except Misfit as error:
                converted.append(None)
                where = f"column {name}{error.path}"
                problem = f"{where}: {error.problem}" if value is not None else f"{where} is NULL, and it is NOT NULL"
                wrong.setdefault(place, problem)
        return converted


class ColumnsComputer:
    """Adds the computed columns of a table to its others, column by column.

    Args:
        schema: of the table.
        given: the columns that its rows bring.
    """

    def __init__(self, schema: Schema, given: Sequence[Column]) -> None:
        self.given = given
        places = {column.name: number for number, column in enumerate(given)}
        self._order: list[tuple[str, int | None]] = [
            (column.name, places.get(column.name)) for column in schema.columns if column.origin is not Origin.PROCTIME
        ]
        self._computed = {
            name: ([places[read] for read in sorted(computed.reads)], _column_function(computed))
            for name, computed in schema.computed.items()
        }

    def compute(self, chunk: Chunk) -> tuple[Chunk, dict[int, str]]:
        """A chunk with all columns of the table; places of the rows for which one failed, and why."""
        if not self._computed:
            return chunk, {}
        wrong: dict[int, str] = {}
        columns = [
            chunk.columns[place] if place is not None else self._column(name, chunk, wrong)
            for name, place in self._order
        ]
        return chunk._replace(columns=columns), wrong

    def _column(self, name: str, chunk: Chunk, wrong: dict[int, str]) -> Sequence[Any]:
        places, compute = self._computed[name]
        count, reads = len(chunk.positions), [chunk.columns[place] for place in places]
        try:
            with no_collection():
                return compute(count, *reads)
        except FAILURES:
            pass
        values: list[Any] = []
        for number in range(count):
            try:
                values += compute(1, *([column[number]] for column in reads))
            except FAILURES as error:
                wrong.setdefault(number, f"computed column {name}: {error}")
                values.append(None)
        return values


def _column_function(computed: Computed) -> Callable[..., list[Any]]:
    """A function from a number of rows and the columns that an expression reads to its values."""
    names: dict[str, Any] = {}
    reads = {name: f"r{number}" for number, name in enumerate(sorted(computed.reads))}
    columns = [f"column_{place}" for place in reads.values()]
    loop = f"{', '.join(reads.values())}, in zip({', '.join(columns)})" if reads else "_ in range(count)"
    value = computed.source(reads, names)
    exec(f"def column({', '.join(['count', *columns])}):\n    return [{value} for {loop}]", names)
    return names["column"]  # type: ignore[no-any-return]  # generated code


def without(chunk: Chunk, wrong: Mapping[int, str], show: Callable[[int], tuple[Any, ...]]) -> Chunk:
    """A chunk without some of its rows, which are rejected.

    Args:
        chunk: the rows.
        wrong: their places in the chunk, and the reasons.
        show: the values at a place.
    """
    if not wrong:
        return chunk
    kept = [place not in wrong for place in range(len(chunk.positions))]
    rejected = [Rejected(chunk.positions[place] + 1, reason, show(place)) for place, reason in sorted(wrong.items())]
    return Chunk(
        list(compress(chunk.positions, kept)),
        [list(compress(values, kept)) for values in chunk.columns],
        sorted([*chunk.rejected, *rejected], key=lambda each: each.number),
    )
