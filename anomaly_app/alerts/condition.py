"""DEFINE conditions with the values that they had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.alerts.values import to_text
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.parser import parse_expression
from anomaly_app.expressions.tokens import Span
from anomaly_app.operators import Layout, Row
from anomaly_app.schema import Column

Shown: TypeAlias = Callable[[Mapping[str, Row], Sequence[Any]], str]
"""(last row of each pattern variable, output row) to a name and its value."""

_SAME_ROW = frozenset({"ABS", "COALESCE", "LOWER", "UPPER", "TRIM", "NULLIF", "FLOOR", "CEIL", "ROUND"})
"""Calls in which a column means the row itself; in others (aggregates, PREV, …) it may be another row's."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition whose columns and measures can be shown as values.

    Args:
        text: as written.
        parts: text, and functions that give a value with its name.
        outputs: numbers of the output columns that it shows.
    """

    text: str
    parts: tuple[str | Shown, ...]
    outputs: frozenset[int]

    def measured(self, last: Mapping[str, Row], values: Sequence[Any]) -> str:
        """The condition with its values, such as ``quantity 30 > avg_quantity 1 × 3``.

        Args:
            last: the last row of each pattern variable.
            values: the output row.
        """
        return "".join([part if isinstance(part, str) else part(last, values) for part in self.parts])


def columns_read(text: str, variables: Sequence[str], layout: Layout) -> list[tuple[str, str]]:
    """Pattern variables and columns that a condition names together, each once, in order.

    Example:
        >>> from anomaly_app.schema import INT
        >>> columns_read("B.qty > AVG(A.qty) * 3", ["A", "B"], Layout((Column("qty", INT),)))
        [('B', 'qty'), ('A', 'qty')]
    """
    names = {name.upper(): name for name in variables}
    columns = {column.name for column in layout.columns}
    found: dict[tuple[str, str], None] = {}
    for node in n.walk(parse_expression(text)):
        if isinstance(node, n.ColumnRef) and len(node.parts) == 2:
            variable = names.get(node.parts[0].upper())
            if variable is not None and node.parts[1] in columns:
                found[variable, node.parts[1]] = None
    return list(found)


def parse_condition(
    text: str,
    variable: str,
    *,
    variables: Sequence[str],
    layout: Layout,
    output: Sequence[Column],
    measures: Mapping[str, str],
) -> Condition:
    """Find in a condition what can be shown as a value.

    That is every column of a row that is known (the last one of a variable), and every expression that is also a
    measure: where the last row of a match is tested, the condition sees what the measures see.

    Args:
        text: the condition.
        variable: whose it is: the variable of the last row of a match.
        variables: all pattern variables.
        layout: of the source rows.
        output: columns of the query.
        measures: name of an output column and text of its expression.
    """
    measured = {
        n.shape(parse_expression(measures[column.name])): number
        for number, column in enumerate(output)
        if column.name in measures
    }
    names = {name.upper(): name for name in variables}
    columns = {column.name: column for column in layout.columns}
    outputs: set[int] = set()

    def find(node: n.Node) -> Iterator[tuple[Span, str | Shown]]:
        written = text[node.span.start : node.span.end]
        if isinstance(node, n.ColumnRef):
            *path, name = node.parts
            owner = variable if not path else names.get(path[0].upper()) if len(path) == 1 else None
            column = columns.get(name)
            if owner is not None and column is not None:
                yield node.span, _row_value(owner, column, layout.index(name), written)
            return
        number = measured.get(n.shape(node)) if not isinstance(node, n.Literal) else None
        if number is not None and written.count("(") == written.count(")"):
            outputs.add(number)
            yield node.span, _output_value(number, output[number])
            return
        if isinstance(node, n.Call) and node.name not in _SAME_ROW:
            return
        if isinstance(node, n.Binary) and node.op == "*":
            gap = Span(node.left.span.end, node.right.span.start)
            yield gap, text[gap.start : gap.end].replace("*", "×")
        for child in n.children(node):
            yield from find(child)

    parts: list[str | Shown] = []
    place = 0
    for span, part in sorted(find(parse_expression(text)), key=lambda found: found[0]):
        parts += [text[place : span.start], part]
        place = span.end
    parts.append(text[place:])
    return Condition(text, tuple(part for part in parts if part != ""), frozenset(outputs))


def _row_value(variable: str, column: Column, index: int, written: str) -> Shown:
    convert = to_text(column.type)

    def shown(last: Mapping[str, Row], values: Sequence[Any]) -> str:
        row = last.get(variable)
        if row is None:
            return written
        value = row[index]
        return f"{column.name} NULL" if value is None else f"{column.name} {convert(value)}"

    return shown


def _output_value(number: int, column: Column) -> Shown:
    convert = to_text(column.type)

    def shown(last: Mapping[str, Row], values: Sequence[Any]) -> str:
        value = values[number]
        return f"{column.name} NULL" if value is None else f"{column.name} {convert(value)}"

    return shown
