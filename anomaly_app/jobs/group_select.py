"""The SELECT list, WHERE and HAVING of a windowed GROUP BY: names, aggregates, generated source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.compiler import ExpressionCompiler
from anomaly_app.expressions.typed import Code, Dialect, Environment
from anomaly_app.jobs.select import ColumnScope, CompiledItems, table_scope
from anomaly_app.jobs.windowing import EDGES, WindowBinder, is_old_window
from anomaly_app.operators import Layout
from anomaly_app.patterns.navigation import CONTEXT
from anomaly_app.schema import TEXTS, Column, DataType, Kind
from anomaly_app.windows.accumulators import Accumulators, Group, Program
from anomaly_app.windows.assign import Sessions

Finish: TypeAlias = Callable[[Group, int, int], "tuple[Any, ...] | None"]
"""(group, start and end of its window in ms) to the output row; None if HAVING does not hold."""

_EDGE = DataType(Kind.TIMESTAMP, 3, nullable=False)
_OLD_EDGES = {"START": "start", "END": "end", "ROWTIME": "end - 1", "PROCTIME": "end - 1"}
_OLD_EDGE = re.compile("(TUMBLE|HOP|SESSION)_(START|END|ROWTIME|PROCTIME)")


@dataclass(slots=True)
class CompiledGroups:
    """A windowed GROUP BY for rows of one layout.

    Args:
        program: of its groups.
        finish: from a group to the output row.
        output: columns of the output.
        reads: names of the columns read.
        source: of ``finish``, for people.
        shared: names that several items of the list had, and how many.
    """

    program: Program
    finish: Finish
    output: tuple[Column, ...]
    reads: frozenset[str]
    source: str
    shared: Mapping[str, int]


def compile_groups(binder: WindowBinder, layout: Layout, dialect: Dialect) -> CompiledGroups:
    """Compile the query of a binder.

    Raises:
        SqlValidationError: a name or a type is wrong.
    """
    select, text, env = binder.select, binder.text, Environment()
    table = table_scope(select.source, binder.schema, layout.columns, layout.index, text)
    rows = _RowScope(table.columns, table.index, table.qualifiers, text, origins=table.origins, rowtime=table.rowtime)
    where = ""
    if select.where is not None:
        with env.apart("w"):
            where = ExpressionCompiler(text, rows, env, dialect).condition(select.where, "WHERE")
    windows = binder.windows
    gap = windows.gap_ms if isinstance(windows, Sessions) else None
    accumulators = Accumulators(env, dialect, gap_ms=gap, merges=isinstance(windows, Sessions) or windows.shares)
    compiler = ExpressionCompiler(text, _GroupScope(binder, rows, accumulators, env), env, dialect)
    lines = ["def finish(a, start, end):", "    row = a[0]"]
    if select.having is not None:
        condition = compiler.condition(select.having, "HAVING")
        lines += [f"    {line}" for line in accumulators.results()]
        lines += [f"    if not {condition}:", "        return None"]
    items = CompiledItems()
    for number, item in enumerate(select.items):
        if isinstance(item.expr, n.Star):
            raise binder.fail("* has no meaning with GROUP BY: name keys and aggregates", item.expr)
        code = compiler.value(item.expr)
        name = item.alias or (item.expr.parts[-1] if isinstance(item.expr, n.ColumnRef) else f"EXPR${number}")
        items.output.append(Column(items.name(name), code.type))
        items.sources.append(code.source)
    lines += [f"    {line}" for line in accumulators.results()]
    lines.append(f"    return ({', '.join(items.sources)},)")
    keys = [f"row[{layout.index(column.name)}]" for column in binder.keys]
    program = accumulators.program(keys[0] if len(keys) == 1 else f"({', '.join(keys)})", where)
    source = "\n".join(lines)
    reads = rows.reads | {column.name for column in binder.keys}
    return CompiledGroups(
        program, env.function("finish", source), tuple(items.output), frozenset(reads), source, items.shared
    )


class _RowScope(ColumnScope):
    """Names where an expression is about one row: WHERE, and inside an aggregate."""

    place = "WHERE"

    def find(self, node: n.ColumnRef) -> Column:
        """The column of the table that a reference names."""
        if node.parts[-1].upper() in EDGES and all(c.name.upper() != node.parts[-1].upper() for c in self.columns):
            problem = f"{node.parts[-1]} is of the window, and cannot stand inside {self.place}"
            hint = ": HAVING is about windows" if self.place == "WHERE" else ""
            raise SqlValidationError(problem + hint, self.text, *node.span)
        return super().find(node)

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """Only functions of the row."""
        if node.name in AGGREGATES:
            hint = ": HAVING is about groups" if self.place == "WHERE" else ""
            raise compiler.fail(node, f"{node.name} cannot stand inside {self.place}{hint}")
        if is_old_window(node) or _OLD_EDGE.fullmatch(node.name):
            raise compiler.fail(node, f"{node.name} cannot stand inside {self.place}")
        return super().call(node, compiler)


class _GroupScope:
    """Names in the SELECT list and HAVING: keys, edges of the window, aggregates."""

    def __init__(self, binder: WindowBinder, rows: _RowScope, accumulators: Accumulators, env: Environment) -> None:
        self._binder, self._rows, self._accumulators, self._env = binder, rows, accumulators, env

    def column(self, node: n.ColumnRef) -> Code:
        """A key, or an edge of the window."""
        binder = self._binder
        edge = binder.edge_name(node) if binder.select.window is not None else ""
        if edge:
            if edge not in binder.edges:
                raise binder.fail(f"{edge.lower()} must be in GROUP BY too", node)
            return _edge(EDGES[edge], binder.time if edge == "WINDOW_TIME" else None)
        code = self._rows.column(node)
        name = node.parts[1] if len(node.parts) > 1 and node.parts[0].upper() in binder.qualifiers else node.parts[0]
        column = binder.schema.find(name)
        if column not in binder.keys:
            problem = (
                f"{name} is neither in GROUP BY nor inside an aggregate: a group has many values of it, "
                f"say which, as in MAX({name}) or LAST_VALUE({name})"
            )
            raise binder.fail(problem, node)
        return code

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """Aggregates, and the edges of the older form."""
        if node.name in AGGREGATES:
            return self._aggregate(node, compiler)
        old = _OLD_EDGE.fullmatch(node.name)
        if old is not None:
            return self._old_edge(node, old[1], old[2])
        if is_old_window(node):
            raise compiler.fail(
                node, f"{node.name} stands in GROUP BY only; {node.name}_START gives the window's start"
            )
        if node.name in CONTEXT:
            raise compiler.fail(node, f"{node.name} may stand inside MATCH_RECOGNIZE only")
        return None

    def _old_edge(self, node: n.Call, kind: str, edge: str) -> Code:
        binder = self._binder
        function = binder.function
        if not function.in_group_by:
            raise binder.fail(f"{node.name} needs {kind} in GROUP BY; here it is window_{edge.lower()}", node)
        grouped = next(item for item in binder.select.group_by if is_old_window(item))
        assert isinstance(grouped, n.Call)
        if kind != function.kind or n.shape(node.args) != n.shape(grouped.args):
            written = binder.text[slice(*grouped.span)]
            raise binder.fail(f"{node.name} must have the arguments of {written} in GROUP BY", node)
        rowtime = binder.schema.rowtime is not None
        if edge in ("ROWTIME", "PROCTIME") and (edge == "ROWTIME") is not rowtime:
            raise binder.fail(f"{binder.time.name} is no {edge.lower()} attribute", node)
        return _edge(_OLD_EDGES[edge], binder.time if edge in ("ROWTIME", "PROCTIME") else None)

    def _aggregate(self, node: n.Call, compiler: ExpressionCompiler) -> Code:
        if node.over is not None:
            raise compiler.fail(node, "OVER and GROUP BY do not go together")
        if node.semantics:
            raise compiler.fail(node, f"{node.semantics} may stand inside MATCH_RECOGNIZE only")
        most = 2 if node.name == "LISTAGG" else 1
        rows = node.name == "COUNT" and (not node.args or isinstance(node.args[0], n.Star))
        if not 1 <= len(node.args) <= most and not rows:
            raise compiler.fail(node, f"{node.name} takes one argument, not {len(node.args)}")
        self._rows.place = node.name
        inner = ExpressionCompiler(compiler.text, self._rows, self._env, compiler.dialect)
        with self._env.apart("u"):
            value = None if rows else inner.value(node.args[0])
        with self._env.apart("w"):
            keep = inner.condition(node.filter, "the FILTER") if node.filter is not None else ""
        separator = None
        if len(node.args) == 2:
            separator = compiler.value(node.args[1])
            if not isinstance(separator.constant, str) or separator.type.kind not in TEXTS:
                raise compiler.fail(node.args[1], "the separator of LISTAGG must be a text, written out")
        hashable = value is None or value.type.kind not in (Kind.ARRAY, Kind.MAP, Kind.ROW)
        code = None
        if hashable or not node.distinct:
            code = self._accumulators.add(
                node.name, value, keep=keep, distinct=node.distinct, separator=separator
            )  # fmt: skip
        if code is None:
            shown = str(value.type.with_nullable(True)) if value is not None else "rows"
            hint = ": CAST it to a number" if value is not None and value.type.kind in TEXTS else ""
            what = "DISTINCT " if node.distinct else ""
            raise compiler.fail(node, f"{node.name} of {what}{shown} is not defined{hint}")
        return code


def _edge(source: str, like: Column | None) -> Code:
    """An edge of the window; one that is a time attribute has the type of the table's."""
    type_ = _EDGE if like is None else DataType(like.type.kind, 3, nullable=False)
    return Code(source if source.isidentifier() else f"({source})", type_)
