"""MEASURES as generated Python: from the rows and labels of a match to its output rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import Aggregate
from anomaly_app.expressions.compiler import ExpressionCompiler
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.clause import CheckedClause
from anomaly_app.patterns.navigation import PatternScope, RowRef, RowSource, row_at
from anomaly_app.patterns.program import certain
from anomaly_app.schema import Column

Measure: TypeAlias = Callable[[Sequence[Row], int, Sequence[int], int, Sequence[int], int, bool], list[tuple[Any, ...]]]
"""Output rows of a match.

Of (rows, index of the first row, variable of each row, match number, indexes of rows to show, match time, timed out).
"""


@dataclass(slots=True)
class Measures:
    """The output of a clause, compiled.

    Args:
        compute: output rows of a match.
        unmatched: output row of a row that no match covers; None unless they are wanted.
        output: columns of the output.
        source: for people.
        reads: columns read.
        look_back: rows before the match that measures reach.
        look_ahead: rows behind it.
        sees_number: a measure reads MATCH_NUMBER().
    """

    compute: Measure
    unmatched: Callable[[Row], tuple[Any, ...]] | None
    output: tuple[Column, ...]
    source: str
    reads: set[str]
    look_back: int
    look_ahead: int
    sees_number: bool


class MeasureScope(PatternScope):
    """Names in a measure."""

    def __init__(self, checked: CheckedClause, layout: Layout, env: Environment) -> None:
        super().__init__(checked, layout, env)
        self.lists: dict[frozenset[int], int] = {}
        names = frozenset[str]()
        if not checked.all_rows and not checked.timeouts:
            names = certain(checked.clause.pattern)
        self._certain = frozenset[int]().union(*(checked.sets[name] for name in names))

    def _rows_of(self, ref: RowRef) -> tuple[str, str]:
        """Names of the list of places of a set of variables, and of how many of them count."""
        number = self.lists.setdefault(ref.variables, len(self.lists))
        final = ref.final or not self.checked.all_rows
        return f"m{number}", f"f{number}" if final else f"c{number}"

    def locate(self, ref: RowRef, node: n.Node, compiler: ExpressionCompiler) -> RowSource:
        """A row of the match by its place in the list of its variables."""
        places, count = self._rows_of(ref)
        missing = f"{count} <= {ref.offset}"
        if not ref.offset and not ref.shift and ref.variables & self._certain:
            missing = ""
        index = f"{places}[{ref.offset}]" if ref.first else f"{places}[{count} - {ref.offset + 1}]"
        if not ref.shift:
            return RowSource(missing, f"rows[{index}]", f"label({index})")
        name, helper = self.env.temporary(), self.env.use(row_at)
        index = f"{index} {ref.shift:+d}"
        return RowSource(f"{missing} or ({name} := {helper}(rows, {index})) is None", name, f"label({index})")

    def aggregate(self, ref: RowRef, aggregate: Aggregate, value: Code | None, keep: str) -> Code:
        """An aggregate over a list of values."""
        places, count = self._rows_of(ref)
        some = places if count.startswith("f") else f"{places}[:{count}]"
        source = value.source if value is not None else "1"
        test = f" if {keep}" if keep else ""
        nullable = value is not None and value.type.nullable and not aggregate.keeps_nulls
        if "a_label" in source + keep:
            rows = f"for a, a_label in [(rows[j], label(j)) for j in {some}]"
        else:
            rows = f"for a in [rows[j] for j in {some}]"
        values, names = self.env.temporary(), [self.env.temporary() for _ in aggregate.parts]
        if value is None and not keep:
            listed = some
        elif nullable:
            item = self.env.temporary()
            test = f"{test} if ({item} := {source}) is not None"
            listed = f"[{item} {rows}{test}]"
        else:
            listed = f"[{source} {rows}{test}]"
        steps = [f"({values} := {listed})"]
        steps += [f"({name} := {part.batch(values)})" for name, part in zip(names, aggregate.parts, strict=True)]
        return Code(f"({', '.join(steps)}, {aggregate.finish(*names)})[-1]", aggregate.type)


def compile_measures(checked: CheckedClause, layout: Layout) -> Measures:
    """Compile the output of a clause.

    Raises:
        SqlValidationError: a measure is wrong.
    """
    env = Environment()
    env.use(bisect_right)
    scope = MeasureScope(checked, layout, env)
    compiler = ExpressionCompiler(checked.text, scope, env, checked.dialect)
    measures = [(measure.name, compiler.value(measure.expr)) for measure in checked.clause.measures]
    output, items, blanks = _output(checked, layout, scope, measures)
    if not output:
        raise compiler.fail(
            n.Node(checked.clause.span), "the clause gives no columns: expected MEASURES or PARTITION BY"
        )
    names: set[str] = set()
    for column in output:
        if column.name in names:
            measure = next((m for m in checked.clause.measures if m.name == column.name), None)
            span = measure.span if measure is not None else checked.clause.span
            raise compiler.fail(n.Node(span), f"two columns of the output are named {column.name}")
        names.add(column.name)
    labels = env.constant(tuple(checked.program.labels))
    lines = ["def measure(rows, start, labels, number, shown, time, timed_out):", "    end = start + len(labels)"]
    if any("label(" in code.source for _, code in measures):
        lines += ["    def label(j):", f"        return {labels}[labels[j - start]] if start <= j < end else None"]
    for variables, number in scope.lists.items():
        lines += [f"    m{number} = {_places(checked, variables)}", f"    f{number} = len(m{number})"]
    result = f"({', '.join(items)}{',' if items else ''})"
    if not checked.all_rows:
        lines += ["    row = rows[start]", f"    return [{result}]"]
    else:
        lines += ["    out = []", "    for current in shown:", "        row = rows[current]"]
        lines += [f"        c{k} = _bisect_right(m{k}, current)" for k in scope.lists.values()]
        lines += [f"        out.append({result})", "    return out"]
    source = "\n".join(lines)
    blank = f"def unmatched(row):\n    return ({', '.join(blanks)}{',' if blanks else ''})"
    return Measures(
        compute=env.function("measure", source),
        unmatched=env.function("unmatched", blank) if checked.all_rows else None,
        output=output,
        source=source,
        reads=scope.reads,
        look_back=scope.look_back,
        look_ahead=scope.look_ahead,
        sees_number=scope.sees_number,
    )


def _places(checked: CheckedClause, variables: frozenset[int]) -> str:
    if variables == checked.universal:
        return "range(start, end)"
    if len(variables) == 1:
        return f"[j for j, k in enumerate(labels, start) if k == {next(iter(variables))}]"
    return f"[j for j, k in enumerate(labels, start) if k in {set(sorted(variables))}]"


def _output(
    checked: CheckedClause, layout: Layout, scope: MeasureScope, measures: Sequence[tuple[str, Code]]
) -> tuple[tuple[Column, ...], list[str], list[str]]:
    """Columns of the output in SQL's order, their source, and their source for an unmatched row."""
    columns: list[Column] = []
    items: list[str] = []
    blanks: list[str] = []
    taken: set[str] = set()

    def add(column: Column) -> None:
        if column.name not in taken:
            taken.add(column.name)
            scope.reads.add(column.name)
            columns.append(Column(column.name, column.type))
            items.append(f"row[{layout.index(column.name)}]")
            blanks.append(items[-1])

    for column in checked.partition_by:
        add(column)
    if checked.all_rows:
        for order in checked.order_by:
            add(order.column)
    for name, code in measures:
        columns.append(Column(name, code.type))
        items.append(code.source)
        blanks.append("None")
    if checked.all_rows:
        for column in checked.schema.columns:
            add(column)
    return tuple(columns), items, blanks
