"""SELECT … [WHERE …]: over the rows of a table as an operator, and around a row pattern as a projection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from anomaly_app.errors import AnomalyError, EvaluationError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.compiler import ExpressionCompiler
from anomaly_app.expressions.typed import FAILURES, Code, Dialect, Environment
from anomaly_app.jobs.detector_functions import misplaced
from anomaly_app.operators import TIME, Arrivals, Counters, Finding, Layout, Problem, Row
from anomaly_app.patterns.clause import nearest
from anomaly_app.patterns.navigation import CONTEXT
from anomaly_app.schema import Column, Schema
from anomaly_app.sql.statements import Select, SelectItem, TableRef

Apply = Callable[[tuple[Any, ...]], "tuple[Any, ...] | None"]


@dataclass(slots=True)
class CompiledSelect:
    """A SELECT list and WHERE over tuples.

    Args:
        apply: a tuple to an output row; None if WHERE does not hold. Raises EvaluationError or ArithmeticError.
        output: columns of the output.
        reads: names of the columns read.
        origins: output columns that are a column of the table as it is, and which.
        shared: names that several items of the list had, and how many: nobody can tell which one is meant.
    """

    apply: Apply
    output: tuple[Column, ...]
    reads: frozenset[str]
    origins: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)


Into = Callable[[Sequence[Column]], CompiledSelect | None]
"""What makes rows of a sink from rows of a query, from the query's columns; None if they are the same."""


def chained(first: CompiledSelect | None, second: CompiledSelect | None) -> CompiledSelect | None:
    """One projection behind another, where there are."""
    return first or second if first is None or second is None else _chained(first, second)


def _chained(first: CompiledSelect, second: CompiledSelect) -> CompiledSelect:
    return CompiledSelect(_both(first.apply, second.apply), second.output, first.reads, second.origins, second.shared)


def _both(inner: Apply, outer: Apply) -> Apply:
    def apply(row: tuple[Any, ...]) -> tuple[Any, ...] | None:
        values = inner(row)
        return None if values is None else outer(values)

    return apply


ROWTIME = "$rowtime"
"""The time attribute of a table, whatever its column is called."""


class ColumnScope:
    """Columns of one table or subquery by name.

    Args:
        columns: of the table.
        index: place of a column in a tuple.
        qualifiers: names that may stand before a column.
        text: the whole statement, for errors.
        origins: columns that are a column of the table that is read, and which.
        rowtime: what ``$rowtime`` means; a column, or why there is none.
        shared: names that stand for several columns, and how many.
        dialect: the standard does not tell capital letters from small ones.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        index: Callable[[str], int],
        qualifiers: Iterable[str],
        text: str,
        *,
        origins: Mapping[str, str] = MappingProxyType({}),
        rowtime: Column | str = f"{ROWTIME} is of a table",
        shared: Mapping[str, int] = MappingProxyType({}),
        dialect: Dialect = Dialect.FLINK,
    ) -> None:
        self.columns, self.index, self.text = columns, index, text
        self.qualifiers = {name.upper() for name in qualifiers}
        self.origins, self.rowtime, self.shared, self.dialect = origins, rowtime, shared, dialect
        self.reads: set[str] = set()

    def column(self, node: n.ColumnRef) -> Code:
        """A column; behind its name may stand fields of a ROW."""
        column = self.find(node)
        _, *names = self._parts(node)
        self.reads.add(column.name)
        code = Code(f"row[{self.index(column.name)}]", column.type)
        for name in names:
            place = next((k for k, (f, _) in enumerate(code.type.fields) if f.lower() == name.lower()), None)
            if place is None:
                hint = nearest(name, [known for known, _ in code.type.fields])
                problem = f"{column.name} is {code.type.with_nullable(True)}: it has no field {name!r}{hint}"
                raise SqlValidationError(problem, self.text, *node.span)
            type_ = code.type.fields[place][1]
            source = f"{code.source}[{place}]"
            if code.type.nullable:
                source = f"(None if {code.source} is None else {source})"
            code = Code(source, type_.with_nullable(type_.nullable or code.type.nullable))
        return code

    def find(self, node: n.ColumnRef) -> Column:
        """The column that a reference names, or begins with; raises ``SqlValidationError``."""
        name = self._parts(node)[0]
        if name in self.shared:
            raise SqlValidationError(f"column {name!r} is there {self.shared[name]} times", self.text, *node.span)
        found = [column for column in self.columns if column.name == name]
        if not found and self.dialect is Dialect.STANDARD:
            found = [column for column in self.columns if column.name.lower() == name.lower()]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise SqlValidationError(f"column {name!r} is there {len(found)} times", self.text, *node.span)
        if name.lower() == ROWTIME:
            if isinstance(self.rowtime, Column):
                return self.rowtime
            raise SqlValidationError(self.rowtime, self.text, *node.span)
        hint = nearest(name, [known.name for known in self.columns])
        raise SqlValidationError(f"unknown column {name!r}{hint}", self.text, *node.span)

    def origin(self, node: n.Node) -> str | None:
        """The column of the table that an expression is, as it is; None if it is something else."""
        if not isinstance(node, n.ColumnRef) or len(self._parts(node)) > 1:
            return None
        return self.origins.get(self.find(node).name)

    def _parts(self, node: n.ColumnRef) -> tuple[str, ...]:
        qualified = len(node.parts) > 1 and node.parts[0].upper() in self.qualifiers
        return node.parts[1:] if qualified else node.parts

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """No function depends on the table."""
        if node.name in CONTEXT:
            raise compiler.fail(node, f"{node.name} may stand inside MATCH_RECOGNIZE only")
        problem = misplaced(node)
        if problem:
            raise compiler.fail(node, problem)
        if node.name in AGGREGATES:
            raise compiler.fail(node, f"{node.name} is about many rows: it needs a GROUP BY with a window")
        return None


def table_scope(
    table: TableRef, schema: Schema, columns: Sequence[Column], index: Callable[[str], int], text: str
) -> ColumnScope:
    """What names mean in a query over a table.

    Args:
        table: as it stands in FROM.
        schema: of the table.
        columns: those of its columns that there are.
        index: place of a column in a row.
        text: the whole statement, for errors.
    """
    time = next((column for column in columns if column.name == schema.rowtime), None)
    problem = f"table {table.name} has no event time: {ROWTIME} needs a WATERMARK FOR a column (or rowtime= of Rows)"
    if schema.proctime is not None:
        problem += f", and {schema.proctime} is processing time"
    names = [table.alias] if table.alias else [table.path[-1]]
    origins = {column.name: column.name for column in columns}
    return ColumnScope(columns, index, names, text, origins=origins, rowtime=time or problem)


def subquery_scope(inner: CompiledSelect, alias: str | None, schema: Schema, text: str) -> ColumnScope:
    """What names mean in a query over a subquery; arguments as in :func:`table_scope`."""
    time = next((name for name, origin in inner.origins.items() if origin == schema.rowtime), None)
    problem = f"{ROWTIME} is of the table: the subquery must give it, as in SELECT {ROWTIME} AS ts"
    if time is not None:
        problem = f"{ROWTIME} is of the table: the subquery gives it as {time}"
    places = {column.name: place for place, column in enumerate(inner.output)}
    names = [alias] if alias else []
    return ColumnScope(
        inner.output, places.__getitem__, names, text, origins=inner.origins, rowtime=problem, shared=inner.shared
    )


def compile_select(select: Select, scope: ColumnScope, dialect: Dialect) -> CompiledSelect:
    """Compile the SELECT list and WHERE of a query.

    Raises:
        SqlValidationError: a name or a type is wrong.
    """
    env = Environment()
    compiler = ExpressionCompiler(scope.text, scope, env, dialect)
    items = compile_items(select, scope, compiler)
    lines = ["def project(row):"]
    if select.where is not None:
        lines += [f"    if not {compiler.condition(select.where, 'WHERE')}:", "        return None"]
    lines.append(f"    return ({', '.join(items.sources)},)")
    apply = env.function("project", "\n".join(lines))
    return CompiledSelect(apply, tuple(items.output), frozenset(scope.reads), items.origins, items.shared)


def compile_levels(levels: Sequence[Select], scope: ColumnScope, schema: Schema, dialect: Dialect) -> CompiledSelect:
    """Compile queries around each other.

    Args:
        levels: the innermost first.
        scope: of the innermost.
        schema: of the table that it reads.
        dialect: whose semantics.

    Raises:
        SqlValidationError: a name or a type is wrong.
    """
    return around(compile_select(levels[0], scope, dialect), levels[1:], schema, scope.text, dialect)


def around(
    inner: CompiledSelect, levels: Sequence[Select], schema: Schema, text: str, dialect: Dialect
) -> CompiledSelect:
    """A projection with queries around it; arguments as in :func:`compile_levels`."""
    for level in levels:
        outer = compile_select(level, subquery_scope(inner, level.table.alias, schema, text), dialect)
        inner = _chained(inner, outer)
    return inner


@dataclass(slots=True)
class CompiledItems:
    """A SELECT list.

    Args:
        output: its columns.
        sources: source of each, in which the row is called ``row``.
        origins: columns that are a column of the table as it is, and which.
        shared: names that several columns would have, and how many.
    """

    output: list[Column] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)

    def name(self, wanted: str) -> str:
        """A column's name; with a number behind it if another column has it."""
        free = free_name(wanted, self.output)
        if free != wanted:
            self.shared[wanted] = self.shared.get(wanted, 1) + 1
        return free


def compile_items(select: Select, scope: ColumnScope, compiler: ExpressionCompiler) -> CompiledItems:
    """Compile the SELECT list of a query."""
    items = CompiledItems()
    for number, item in enumerate(select.items):
        if isinstance(item.expr, n.Star):
            if item.alias is not None:
                problem = "* stands for all columns, it cannot be named: name one column, or leave AS out"
                raise SqlValidationError(problem, scope.text, *item.span)
            for column in _starred(item.expr, scope):
                scope.reads.add(column.name)
                name = items.name(column.name)
                items.output.append(Column(name, column.type))
                items.sources.append(f"row[{scope.index(column.name)}]")
                if column.name in scope.origins:
                    items.origins[name] = scope.origins[column.name]
            continue
        code = compiler.value(item.expr)
        name, origin = items.name(_name(item, number)), scope.origin(item.expr)
        items.output.append(Column(name, code.type))
        items.sources.append(code.source)
        if origin is not None:
            items.origins[name] = origin
    return items


def free_name(name: str, taken: Iterable[Column]) -> str:
    """A column's name, with a number behind it if another column has it, as in Flink.

    Example:
        >>> from anomaly_app.schema import INT
        >>> free_name("id", [Column("id", INT), Column("id0", INT)])
        'id1'
    """
    names, number, free = {column.name for column in taken}, 0, name
    while free in names:
        free, number = f"{name}{number}", number + 1
    return free


def _starred(star: n.Star, scope: ColumnScope) -> Sequence[Column]:
    if star.qualifier is not None and star.qualifier.upper() not in scope.qualifiers:
        raise SqlValidationError(f"{star.qualifier} is not a table of this query", scope.text, *star.span)
    return scope.columns


def _name(item: SelectItem, number: int) -> str:
    if item.alias is not None:
        return item.alias
    return item.expr.parts[-1] if isinstance(item.expr, n.ColumnRef) else f"EXPR${number}"


def is_everything(select: Select) -> bool:
    """Whether a query is ``SELECT * FROM …`` without WHERE; a subquery too."""
    return all(level.where is None and [type(item.expr) for item in level.items] == [n.Star] for level in select.levels)


def around_match(
    select: Select, schema: Schema, text: str, dialect: Dialect
) -> Callable[[tuple[Column, ...]], CompiledSelect | None]:
    """What makes the projection of the queries around MATCH_RECOGNIZE from the output columns of the clause."""
    levels = select.levels

    def project(columns: tuple[Column, ...]) -> CompiledSelect | None:
        alias = levels[0].match.alias if levels[0].match is not None else None
        places = {column.name: place for place, column in enumerate(columns)}
        scope = ColumnScope(columns, places.__getitem__, [alias] if alias else [], text, dialect=dialect)
        compiled = compile_levels(levels, scope, schema, dialect)
        return None if is_everything(select) else compiled

    return project


class SelectRule:
    """A bound ``SELECT … FROM table [WHERE …]``: an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        select: the tree.
        schema: of the table.
        text: the whole statement, for errors.
        dialect: whose semantics.
        into: what makes rows of the sink from rows of the query, from the query's columns.

    Raises:
        SqlValidationError: a name or a type is wrong.
    """

    definitions: Mapping[str, str] = MappingProxyType({})
    pattern_text = ""
    partition_by: Sequence[str] | None = None
    needs_order = False
    detects = False

    def __init__(
        self,
        select: Select,
        schema: Schema,
        text: str,
        dialect: Dialect,
        *,
        into: Into | None = None,
    ) -> None:
        self._select, self._schema, self._text, self._dialect = select, schema, text, dialect
        compiled = self._compile(Layout(schema.columns))
        self._into = into(compiled.output) if into is not None else None
        self.output: Sequence[Column] = self._into.output if self._into is not None else compiled.output
        self.reads: Sequence[str] = tuple(c.name for c in schema.columns if c.name in compiled.reads)

    @property
    def description(self) -> str:
        """One line about the query."""
        wheres = [level.where for level in self._select.levels if level.where is not None]
        texts = [" ".join(self._text[slice(*where.span)].split()) for where in wheres]
        return f"filter {' and '.join(texts)}" if texts else "every row"

    def create(self, layout: Layout) -> SelectOperator:
        """A fresh operator for rows of that layout."""
        compiled = chained(self._compile(layout), self._into)
        assert compiled is not None
        return SelectOperator(compiled.apply)

    def order_key(self, layout: Layout) -> None:
        """Rows pass as they come."""

    def sort_key(self, layout: Layout) -> None:
        """Rows pass as they come."""

    def _compile(self, layout: Layout) -> CompiledSelect:
        # Columns that the layout lacks are those that the query does not read.
        scope = table_scope(self._select.source, self._schema, layout.columns, layout.index, self._text)
        return compile_levels(self._select.levels, scope, self._schema, self._dialect)


class SelectOperator:
    """Rows one by one; holds nothing."""

    keeps_rows = True

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.counters = Counters()

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Output rows of the rows that WHERE lets pass."""
        findings = []
        for row in rows:
            try:
                values = self._apply(row)
            except FAILURES as error:
                problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
                self.problems.append(Problem(problem, [row]))
            else:
                if values is not None:
                    findings.append(Finding((), row[TIME], values, row))
        return findings

    def advance(self, watermark: int) -> list[Finding]:
        """Time changes nothing."""
        return []

    def due_ms(self) -> None:
        """Nothing waits."""

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Nothing is held."""
        return ()

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Nothing was held."""

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None
