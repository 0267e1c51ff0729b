"""SELECT … FROM TABLE(TUMBLE(…)) … GROUP BY … HAVING …: bound to an operator of :mod:`anomaly_app.windows`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.typed import Dialect
from anomaly_app.jobs.detector_functions import calls_with_over, has_detectors
from anomaly_app.jobs.group_select import CompiledGroups, Finish, compile_groups
from anomaly_app.jobs.select import CompiledSelect, Into, around, chained
from anomaly_app.jobs.windowing import WindowBinder
from anomaly_app.operators import Layout
from anomaly_app.patterns.rule import Limits
from anomaly_app.schema import Column, Schema
from anomaly_app.sql.statements import Select, SelectItem
from anomaly_app.windows.accumulators import Group
from anomaly_app.windows.assign import Sessions
from anomaly_app.windows.operator import GridOperator, Grouping
from anomaly_app.windows.piped import PipedRule
from anomaly_app.windows.series import Retention
from anomaly_app.windows.session import SessionOperator


def is_windowed(select: Select) -> bool:
    """Whether a query, or a subquery of it, has a window or GROUP BY."""
    return any(level.window is not None or level.group_by for level in select.levels)


def bind_windows(
    select: Select,
    schema: Schema,
    text: str,
    dialect: Dialect,
    *,
    into: Into | None = None,
    limits: Limits | None = None,
    ttl_ms: int | None = None,
) -> GroupRule | PipedRule:
    """Bind a query for which :func:`is_windowed` holds; arguments and errors as those of :class:`GroupRule`.

    Detectors around the groups keep the state of a key for ``ttl_ms`` without rows; None for ever.
    """
    for level in select.levels:
        if level is not select.levels[0] and (level.window is not None or level.group_by):
            problem = "windows over a subquery are not supported: take the table, with the conditions in WHERE"
            span = level.window.span if level.window is not None else level.group_by[0].span
            raise SqlValidationError(problem, text, *span)
    if has_detectors(select):
        return _bind_detectors(select, schema, text, dialect, into, limits, ttl_ms)
    return GroupRule(select, schema, text, dialect, into=into, limits=limits)


def _bind_detectors(
    select: Select,
    schema: Schema,
    text: str,
    dialect: Dialect,
    into: Into | None,
    limits: Limits | None,
    ttl_ms: int | None,
) -> PipedRule:
    """Detectors in the queries around the groups."""
    from anomaly_app.jobs.over import bind_over_groups  # which loads the detectors

    windowed = select.levels[0]
    for call in calls_with_over(windowed):
        problem = "OVER and GROUP BY do not go together: OVER belongs in a query around the windowed one"
        raise SqlValidationError(problem, text, *call.span)
    groups = GroupRule(windowed, schema, text, dialect, limits=limits)
    around = Schema(tuple(groups.output), rowtime=groups.time)
    if around.rowtime is None:
        problem = "detectors over windows are in order of window_time: the windowed query must give it"
        raise SqlValidationError(problem, text, *windowed.span)
    retention = Retention(ttl_ms, (limits or Limits()).keys)
    detectors = bind_over_groups(select, around, text, dialect, into=into, retention=retention)
    for name in detectors.partition_by:
        if name not in groups.origins:
            problem = f"PARTITION BY of OVER takes columns of the table: {name} is computed by the windowed query"
            raise SqlValidationError(problem, text, *next(c for lv in select.levels for c in calls_with_over(lv)).span)
    return PipedRule(groups, detectors, [groups.origins[name] for name in detectors.partition_by])


class GroupRule:
    """A bound windowed aggregation: an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        select: the tree; its innermost query has a window or GROUP BY.
        schema: of the table.
        text: the whole statement, for errors.
        dialect: whose semantics.
        into: what makes rows of the sink from rows of the query, from the query's columns.
        limits: on what an operator may hold: rows beyond the bound on groups are reported and counted.

    Raises:
        SqlValidationError: a name or a type is wrong, or the windows are not supported.
    """

    alert_type = "window"
    needs_order = False
    definitions: Mapping[str, str] = MappingProxyType({})
    pattern_text = ""

    def __init__(
        self,
        select: Select,
        schema: Schema,
        text: str,
        dialect: Dialect,
        *,
        into: Into | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._select, *self._around = select.levels
        self._schema, self._text, self._dialect = schema, text, dialect
        self._most_groups = (limits or Limits()).groups
        self._binder = WindowBinder(self._select, schema, text)
        self._compiled: dict[Layout, CompiledGroups] = {}
        whole = self._compile(Layout(schema.columns))
        outer = self._outer(whole)
        output = whole.output if outer is None else outer.output
        self._projection = chained(outer, into(output) if into is not None else None)
        self.output: Sequence[Column] = output if self._projection is None else self._projection.output
        self.reads: Sequence[str] = tuple(column.name for column in schema.columns if column.name in whole.reads)
        self.partition_by: Sequence[str] | None = tuple(column.name for column in self._binder.keys)

    # --- the operator contract ------------------------------------------------------------------------

    def create(self, layout: Layout) -> GridOperator | SessionOperator:
        """A fresh operator for rows of that layout."""
        grouping = self.compile(layout)
        if isinstance(grouping.windows, Sessions):
            return SessionOperator(grouping, grouping.windows)
        return GridOperator(grouping, grouping.windows)

    def order_key(self, layout: Layout) -> None:
        """Rows of one time come in any order."""

    def sort_key(self, layout: Layout) -> None:
        """Rows come as they are."""

    @property
    def detects(self) -> bool:
        """With HAVING it gives the windows that stand out, else all of them."""
        return self._select.having is not None

    @property
    def time(self) -> str | None:
        """Name of the output column that is window_time; None if none is."""
        edges = {column.name: self._binder.edge_name(item.expr) for column, item in self._columns}
        return next((name for name, edge in edges.items() if edge == "WINDOW_TIME"), None)

    @property
    def origins(self) -> Mapping[str, str]:
        """Output columns that are keys of the groups, and the columns of the table that these are."""
        keys = {column.name.lower(): column.name for column in self._binder.keys}
        return {
            column.name: keys[item.expr.parts[-1].lower()]
            for column, item in self._columns
            if isinstance(item.expr, n.ColumnRef) and item.expr.parts[-1].lower() in keys
        }

    @property
    def _columns(self) -> list[tuple[Column, SelectItem]]:
        return list(zip(self.output, self._select.items, strict=True))

    # --- for people -----------------------------------------------------------------------------------

    @property
    def description(self) -> str:
        """One line about the query."""
        keys = ", ".join(column.name for column in self._binder.keys)
        by = f" by {keys}" if keys else ""
        conditions = self._conditions
        return self._binder.windows.words + by + (f", if {' and '.join(conditions)}" if conditions else "")

    @property
    def labels(self) -> Mapping[str, str]:
        """What columns without a name are called for people: their expressions."""
        if self._projection is not None:
            return {}
        items = zip(self.output, self._select.items, strict=True)
        return {column.name: self._written(item.expr) for column, item in items if column.name.startswith("EXPR$")}

    @property
    def words(self) -> Sequence[str]:
        """What the query does, as ``anomaly explain`` prints it."""
        select, binder = self._select, self._binder
        keys = ", ".join(column.name for column in binder.keys)
        words = ["takes each row" + (f" with {self._written(select.where)}" if select.where is not None else "")]
        words.append(f"puts it into {binder.windows.words}, over {binder.time.name}")
        last = "when the watermark passes the end of the window"
        if self._schema.rowtime is None:
            last = "when time of arrival passes the end of the window"
        words.append(f"gives one row for each {f'{keys} and ' if keys else ''}window, {last}")
        words += [f"keeps it only if {condition}" for condition in self._conditions]
        return words

    @property
    def _conditions(self) -> list[str]:
        nodes = [self._select.having, *(level.where for level in self._around)]
        return [self._written(node) for node in nodes if node is not None]

    @property
    def state(self) -> str:
        """What an operator keeps."""
        program = self._compile(Layout(self._schema.columns)).program
        what = f"{program.numbers} numbers" if program.numbers != 1 else "one number"
        values = ", and the values of aggregates that need all of them" if program.lists else ""
        return f"of each open group its last row and {what}{values}; no other rows"

    @property
    def source(self) -> Mapping[str, str]:
        """Generated Python, by name."""
        compiled = self._compile(Layout(self._schema.columns))
        return {"groups": compiled.program.source, "output": compiled.source}

    def _written(self, node: n.Node) -> str:
        return re.sub(r"\s+", " ", self._text[slice(*node.span)])

    # --- compilation ----------------------------------------------------------------------------------

    def compile(self, layout: Layout) -> Grouping:
        """The aggregation for rows of a layout."""
        compiled, binder = self._compile(layout), self._binder
        return Grouping(
            binder.windows,
            compiled.program,
            _followed(compiled.finish, self._projection),
            layout,
            compiled.reads,
            binder.keys,
            self._schema.rowtime is None,
            self._most_groups,
        )

    def _compile(self, layout: Layout) -> CompiledGroups:
        known = self._compiled.get(layout)
        if known is None:
            known = self._compiled[layout] = compile_groups(self._binder, layout, self._dialect)
        return known

    def _outer(self, whole: CompiledGroups) -> CompiledSelect | None:
        """The queries around the groups, over rows of their columns."""
        if not self._around:
            return None
        groups = CompiledSelect(lambda row: row, whole.output, frozenset(), shared=whole.shared)
        return around(groups, self._around, self._schema, self._text, self._dialect)


def _followed(finish: Finish, projection: CompiledSelect | None) -> Finish:
    if projection is None:
        return finish
    apply = projection.apply

    def finish_and_project(group: Group, start: int, end: int) -> tuple[Any, ...] | None:
        values = finish(group, start, end)
        return None if values is None else apply(values)

    return finish_and_project
