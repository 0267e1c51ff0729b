"""SELECT … [WHERE …]: over the rows of a table as an operator, and around a row pattern as a projection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from anomaly_app.errors import AnomalyError, EvaluationError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.compiler import ExpressionCompiler
from anomaly_app.expressions.typed import FAILURES, Code, Dialect, Environment
from anomaly_app.operators import TIME, Counters, Finding, Layout, Problem, Row
from anomaly_app.patterns.clause import nearest
from anomaly_app.patterns.navigation import CONTEXT
from anomaly_app.schema import Column, Schema
from anomaly_app.sql.statements import Select, SelectItem

Apply = Callable[[tuple[Any, ...]], "tuple[Any, ...] | None"]


@dataclass(slots=True)
class CompiledSelect:
    """A SELECT list and WHERE over tuples.

    Args:
        apply: a tuple to an output row; None if WHERE does not hold. Raises EvaluationError or ArithmeticError.
        output: columns of the output.
        reads: names of the columns read.
    """

    apply: Apply
    output: tuple[Column, ...]
    reads: frozenset[str]


def chained(first: CompiledSelect | None, second: CompiledSelect | None) -> CompiledSelect | None:
    """One projection behind another."""
    if first is None or second is None:
        return first or second
    inner: Apply = first.apply
    outer: Apply = second.apply

    def apply(row: tuple[Any, ...]) -> tuple[Any, ...] | None:
        values = inner(row)
        return None if values is None else outer(values)

    return CompiledSelect(apply, second.output, first.reads)


class ColumnScope:
    """Columns of one table by name.

    Args:
        columns: of the table.
        index: place of a column in a tuple.
        qualifiers: names that may stand before a column.
        text: the whole statement, for errors.
    """

    def __init__(
        self, columns: Sequence[Column], index: Callable[[str], int], qualifiers: Iterable[str], text: str
    ) -> None:
        self.columns, self.index, self.text = columns, index, text
        self.qualifiers = {name.upper() for name in qualifiers}
        self.reads: set[str] = set()

    def column(self, node: n.ColumnRef) -> Code:
        """A column; behind its name may stand fields of a ROW."""
        name, *fields = node.parts[1:] if self._qualified(node) else node.parts
        column = self._find(name)
        if column is None:
            hint = nearest(name, [known.name for known in self.columns])
            raise SqlValidationError(f"unknown column {name!r}{hint}", self.text, *node.span)
        self.reads.add(column.name)
        code = Code(f"row[{self.index(column.name)}]", column.type)
        for field in fields:
            place = next((k for k, (f, _) in enumerate(code.type.fields) if f.lower() == field.lower()), None)
            if place is None:
                problem = f"{name} is {code.type.with_nullable(True)}: it has no field {field!r}"
                raise SqlValidationError(problem, self.text, *node.span)
            type_ = code.type.fields[place][1]
            source = f"{code.source}[{place}]"
            if code.type.nullable:
                source = f"(None if {code.source} is None else {source})"
            code = Code(source, type_.with_nullable(type_.nullable or code.type.nullable))
        return code

    def _qualified(self, node: n.ColumnRef) -> bool:
        return len(node.parts) > 1 and node.parts[0].upper() in self.qualifiers

    def _find(self, name: str) -> Column | None:
        exact = [column for column in self.columns if column.name == name]
        folded = exact or [column for column in self.columns if column.name.lower() == name.lower()]
        return folded[0] if len(folded) == 1 else None

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """No function depends on the table."""
        if node.name in AGGREGATES:
            raise compiler.fail(node, f"{node.name} needs GROUP BY or a window: not supported here")
        if node.name in CONTEXT:
            raise compiler.fail(node, f"{node.name} may stand inside MATCH_RECOGNIZE only")
        return None


def compile_select(select: Select, scope: ColumnScope, dialect: Dialect) -> CompiledSelect:
    """Compile the SELECT list and WHERE of a query.

    Raises:
        SqlValidationError: a name or a type is wrong.
    """
    env = Environment()
    compiler = ExpressionCompiler(scope.text, scope, env, dialect)
    output: list[Column] = []
    sources: list[str] = []
    for number, item in enumerate(select.items):
        if isinstance(item.expr, n.Star):
            for column in _starred(item.expr, scope):
                scope.reads.add(column.name)
                output.append(Column(column.name, column.type))
                sources.append(f"row[{scope.index(column.name)}]")
            continue
        code = compiler.value(item.expr)
        output.append(Column(_name(item, number), code.type))
        sources.append(code.source)
    lines = ["def project(row):"]
    if select.where is not None:
        lines += [f"    if not {compiler.condition(select.where, 'WHERE')}:", "        return None"]
    lines.append(f"    return ({', '.join(sources)},)")
    return CompiledSelect(env.function("project", "\n".join(lines)), tuple(output), frozenset(scope.reads))


def _starred(star: n.Star, scope: ColumnScope) -> Sequence[Column]:
    if star.qualifier is not None and star.qualifier.upper() not in scope.qualifiers:
        raise SqlValidationError(f"{star.qualifier} is not a table of this query", scope.text, *star.span)
    return scope.columns


def _name(item: SelectItem, number: int) -> str:
    if item.alias is not None:
        return item.alias
    return item.expr.parts[-1] if isinstance(item.expr, n.ColumnRef) else f"EXPR${number}"


def is_everything(select: Select) -> bool:
    """Whether a query is ``SELECT * FROM …`` without WHERE."""
    return select.where is None and [type(item.expr) for item in select.items] == [n.Star]


def around_match(select: Select, text: str, dialect: Dialect) -> Callable[[tuple[Column, ...]], CompiledSelect | None]:
    """What makes the projection of a query around MATCH_RECOGNIZE from the output columns of the clause."""

    def project(columns: tuple[Column, ...]) -> CompiledSelect | None:
        alias = select.match.alias if select.match is not None else None
        places = {column.name: place for place, column in enumerate(columns)}
        scope = ColumnScope(columns, places.__getitem__, [alias] if alias else [], text)
        compiled = compile_select(select, scope, dialect)
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

    def __init__(
        self,
        select: Select,
        schema: Schema,
        text: str,
        dialect: Dialect,
        *,
        into: Callable[[Sequence[Column]], CompiledSelect | None] | None = None,
    ) -> None:
        self._select, self._schema, self._text, self._dialect = select, schema, text, dialect
        compiled = self._compile(Layout(schema.columns))
        self._into = into(compiled.output) if into is not None else None
        self.output: Sequence[Column] = self._into.output if self._into is not None else compiled.output
        self.reads: Sequence[str] = tuple(c.name for c in schema.columns if c.name in compiled.reads)

    @property
    def description(self) -> str:
        """One line about the query."""
        where = self._select.where
        return f"filter {self._text[slice(*where.span)]}" if where is not None else "every row"

    def create(self, layout: Layout) -> SelectOperator:
        """A fresh operator for rows of that layout."""
        compiled = chained(self._compile(layout), self._into)
        assert compiled is not None
        return SelectOperator(compiled.apply)

    def order_key(self, layout: Layout) -> None:
        """Rows pass in order of time."""

    def sort_key(self, layout: Layout) -> None:
        """Rows pass as they come."""

    def _compile(self, layout: Layout) -> CompiledSelect:
        table = self._select.table
        names = [table.alias] if table.alias else [table.path[-1]]
        # Columns that the layout lacks are those that the query does not read.
        present = {column.name for column in layout.columns}
        columns = [column for column in self._schema.columns if column.name in present]
        return compile_select(self._select, ColumnScope(columns, layout.index, names, self._text), self._dialect)


class SelectOperator:
    """Rows one by one; holds nothing."""

    keeps_rows = True

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self.problems: list[Problem] = []
        self.counters = Counters()

    def process(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
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

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Nothing is held."""
        return ()

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Nothing was held."""

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None
