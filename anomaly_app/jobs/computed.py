"""Computed columns and watermarks of CREATE TABLE: expressions over the columns of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.typed import FAILURES, Code, Dialect, Environment
from anomaly_app.plan.scope import Expression, Scope, names_of
from anomaly_app.schema import TIMESTAMPS, Column, DataType, Kind, Origin
from anomaly_app.sql.statements import ColumnDefinition, WatermarkDefinition
from anomaly_app.words import nearest


@dataclass(frozen=True, slots=True)
class ComputedColumn:
    """The checked expression of a computed column: a :class:`~anomaly_app.schema.Computed`.

    Args:
        expression: over the other columns of the table.
        types: of these columns.

    Example:
        >>> from anomaly_app.schema import BIGINT, STRING
        >>> from anomaly_app.sql import parse_statements
        >>> text = "CREATE TABLE t (ms BIGINT, name STRING, loud AS UPPER(name))"
        >>> definition = parse_statements(text)[0].columns[2]
        >>> column, computed = computed_column(definition, [Column("ms", BIGINT), Column("name", STRING)], {}, text)
        >>> str(column.type), sorted(computed.reads), computed.source({"name": "r[1]"}, {})
        ('STRING', ['name'], '(None if (v1 := r[1]) is None else _upper(v1))')
    """

    expression: Expression
    types: Mapping[str, DataType]

    @property
    def reads(self) -> frozenset[str]:
        """Names of the columns that it reads."""
        return self.expression.reads

    @property
    def words(self) -> str:
        """As written, in one line."""
        return self.expression.words

    def source(self, places: Mapping[str, str], names: dict[str, Any]) -> str:
        """Python source of its value; see :class:`~anomaly_app.schema.Computed`."""
        env = Environment()
        env.names = names
        return self.expression.compile(lambda name: Code(places[name], self.types[name]), env).source


def computed_column(
    definition: ColumnDefinition, sources: Sequence[Column], computed: Mapping[str, n.Node], text: str
) -> tuple[Column, ComputedColumn]:
    """A column that is an expression over others.

    Args:
        definition: of the column.
        sources: columns of the table that are read from a record.
        computed: expressions of all computed columns of the table, by name: none may read another, as in Flink.
        text: the whole job file, for errors.

    Raises:
        SqlValidationError: the expression makes no sense; points into it.
    """
    name, node = definition.name, definition.computed
    assert node is not None, "only computed columns come here"
    scope = _TableScope(sources, computed, f"computed column {name!r}", text)
    expression = scope.expression(node)
    if expression.type.kind is Kind.NULL:
        raise scope.fail(node, f"computed column {name!r} has no type: CAST(NULL AS …) gives it one")
    types = {column.name: column.type for column in sources if column.name in expression.reads}
    return Column(name, expression.type, Origin.COMPUTED), ComputedColumn(expression, types)


class _TableScope(Scope):
    """Columns of a record, by their names only."""

    def __init__(self, sources: Sequence[Column], computed: Mapping[str, n.Node], what: str, text: str) -> None:
        super().__init__(text, names_of(sources), Dialect.FLINK)
        self._computed, self._what = computed, what

    def resolve(self, node: n.ColumnRef) -> tuple[Column, tuple[str, ...]]:
        """The column and the fields behind it; an error tells which names there are."""
        name = node.parts[0]
        if self._find(name, None) is None:
            other = next((known for known in self._computed if known.lower() == name.lower()), None)
            if other is not None:
                words = " ".join(self.text[slice(*self._computed[other].span)].split())
                problem = f"{self._what} cannot read {other!r}, which is computed too: write {words} in its place"
                raise self.fail(node, problem)
            raise self.fail(node, f"unknown column {name!r}{nearest(name, [known.visible for known in self.names])}")
        return super().resolve(node)


def watermark_delay(watermark: WatermarkDefinition, columns: Sequence[Column], text: str) -> tuple[Column, int]:
    """The event-time column of a table, and by how many milliseconds the watermark trails it.

    Args:
        watermark: ``WATERMARK FOR column AS strategy``. The strategy is the column, less any constant intervals.
        columns: of the table.
        text: the whole job file, for errors.

    Raises:
        SqlValidationError: the column is no time, or the delay is no constant.
    """
    column = next((column for column in columns if column.name == watermark.column), None)
    if column is None:
        hint = nearest(watermark.column, [known.name for known in columns])
        raise SqlValidationError(f"WATERMARK for unknown column {watermark.column!r}{hint}", text, *watermark.span)
    scope = Scope(text, names_of(columns), Dialect.FLINK)
    if column.type.kind not in TIMESTAMPS or (column.type.precision or 0) > 3 or column.origin is Origin.PROCTIME:
        raise SqlValidationError(f"the event-time column {_no_time(column)}", text, *watermark.span)
    strategy = watermark.strategy
    given = scope.expression(strategy)
    delay = _delay_ms(strategy, column.name, scope)
    if delay is None or not given.reads <= {column.name}:
        problem = f"a watermark must be {column.name} less a constant, such as {column.name} - INTERVAL '5' SECOND"
        raise scope.fail(strategy, problem)
    if delay < 0:
        raise scope.fail(
            strategy, f"the watermark is {-delay} ms ahead of the rows: it must be {column.name}, or behind it"
        )
    return column, delay


def _no_time(column: Column) -> str:
    """What is wrong with an event-time column, and what would make it one."""
    name, type_ = column.name, column.type
    problem = f"{name!r} is {type_}: it must be TIMESTAMP(3) or TIMESTAMP_LTZ(3)"
    if column.origin is Origin.PROCTIME:
        return problem
    ways = {
        Kind.BIGINT: f"TO_TIMESTAMP_LTZ({name}, 3)",
        Kind.INT: f"TO_TIMESTAMP_LTZ({name}, 0)",
        Kind.STRING: f"TO_TIMESTAMP({name})",
        **dict.fromkeys(TIMESTAMPS, f"CAST({name} AS {type_.kind.value}(3))"),
    }
    way = ways.get(type_.kind)
    return problem + (f", as in a computed column: event_time AS {way}" if way else "")


def _delay_ms(node: n.Node, column: str, scope: Scope) -> int | None:
    """By how much an expression trails a column; None if that is no constant."""
    if isinstance(node, n.ColumnRef):
        return 0 if node.parts == (column,) else None
    if not isinstance(node, n.Binary) or node.op not in "+-":
        return None
    left, right = node.left, node.right
    if node.op == "+" and _constant_ms(left, scope) is not None:
        left, right = right, left
    delay, constant = _delay_ms(left, column, scope), _constant_ms(right, scope)
    if delay is None or constant is None:
        return None
    return delay + constant if node.op == "-" else delay - constant


def _constant_ms(node: n.Node, scope: Scope) -> int | None:
    """Value of an interval that reads no column; None if it is anything else."""
    expression = scope.expression(node)
    if expression.reads or expression.type.kind is not Kind.INTERVAL_DAY:
        return None
    env = Environment()
    code = expression.compile(lambda name: Code("None", DataType(Kind.NULL)), env)
    try:
        value: int | None = env.function("constant", f"def constant():\n    return {code.source}")()
    except FAILURES:
        return None
    return value
