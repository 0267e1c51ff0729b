"""The windows and keys of a windowed GROUP BY: checked against the table, with errors that point at the place."""

from __future__ import annotations

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.jobs.select import ROWTIME
from anomaly_app.patterns.clause import nearest
from anomaly_app.schema import Column, Kind, Schema
from anomaly_app.sql.queries import Select
from anomaly_app.sql.windows import WindowFunction
from anomaly_app.windows.assign import Grid, Sessions

EDGES = {"WINDOW_START": "start", "WINDOW_END": "end", "WINDOW_TIME": "end - 1"}
"""Columns that a window adds, and their sources in terms of its start and end."""
_OLD_KINDS = ("TUMBLE", "HOP", "SESSION")


class WindowBinder:
    """The window and the keys of a query, checked.

    Args:
        select: the tree.
        schema: of the table.
        text: the whole statement, for errors.
    """

    def __init__(self, select: Select, schema: Schema, text: str) -> None:
        self.schema, self.text, self.select = schema, text, select
        if select.match is not None:
            problem = "windows over MATCH_RECOGNIZE are not supported: aggregate in MEASURES"
            raise SqlValidationError(problem, text, *select.match.span)
        self.function, self.edges = self._window()
        self.time = self._time_column(self.function.time)
        self.windows = self._windows(self.function)
        self.keys: list[Column] = []
        for item in select.group_by:
            if not self._is_edge(item) and not is_old_window(item):
                column = self._key(item)
                if column not in self.keys:
                    self.keys.append(column)
        self._check_session_keys()

    def fail(self, problem: str, *nodes: n.Node) -> SqlValidationError:
        """An error at some nodes."""
        span = Span(nodes[0].span.start, nodes[-1].span.end)
        return SqlValidationError(problem, self.text, *span)

    # --- windows --------------------------------------------------------------------------------------

    def _window(self) -> tuple[WindowFunction, frozenset[str]]:
        """The window, and the names of its edges that GROUP BY has."""
        select, function = self.select, self.select.window
        old = [item for item in select.group_by if is_old_window(item)]
        if function is None:
            if not old:
                names = ", ".join(self.text[slice(*item.span)] for item in select.group_by)
                problem = (
                    f"GROUP BY {names} needs a window, or its groups would never be complete: "
                    "FROM TABLE(TUMBLE(TABLE …, DESCRIPTOR(…), INTERVAL '5' MINUTE)) … "
                    "GROUP BY …, window_start, window_end"
                )
                raise self.fail(problem, *select.group_by)
            if len(old) > 1:
                raise self.fail("GROUP BY has two windows", old[1])
            return self._old_window(old[0]), frozenset()
        if old:
            raise self.fail("there is a window in FROM already: GROUP BY window_start, window_end", old[0])
        edges = frozenset(name for item in select.group_by if (name := self.edge_name(item)))
        missing = [name.lower() for name in ("WINDOW_START", "WINDOW_END") if name not in edges]
        if not select.group_by:
            problem = f"{function.kind} is for GROUP BY: GROUP BY window_start, window_end is missing"
            raise SqlValidationError(problem, self.text, *function.span)
        if missing:
            problem = f"{' and '.join(missing)} is missing: a windowed GROUP BY names window_start and window_end"
            raise self.fail(problem, *select.group_by)
        return function, edges

    def edge_name(self, node: n.Node) -> str:
        """WINDOW_START, WINDOW_END or WINDOW_TIME, if that is what a column is."""
        if not isinstance(node, n.ColumnRef) or len(node.parts) > 2:
            return ""
        if len(node.parts) == 2 and node.parts[0].upper() not in self.qualifiers:
            return ""
        name = node.parts[-1].upper()
        return name if name in EDGES and self.schema.find(node.parts[-1]) is None else ""

    def _is_edge(self, node: n.Node) -> bool:
        return self.select.window is not None and bool(self.edge_name(node))

    @property
    def qualifiers(self) -> set[str]:
        """Names that may stand before a column, in upper case."""
        table = self.select.source
        return {(table.alias or table.path[-1]).upper()}

    def _old_window(self, item: n.Node) -> WindowFunction:
        assert isinstance(item, n.Call)
        lengths = {"TUMBLE": "a size", "HOP": "a slide and a size", "SESSION": "a gap"}[item.name]
        count = 3 if item.name == "HOP" else 2
        time, *given = item.args or (item,)
        intervals = [arg for arg in given if isinstance(arg, n.Literal) and arg.type.kind in _INTERVALS]
        if not isinstance(time, n.ColumnRef) or len(item.args) != count or len(intervals) != count - 1:
            raise self.fail(f"{item.name} in GROUP BY takes the time attribute and {lengths} as intervals", item)
        step = intervals[0] if item.name == "HOP" else None
        return WindowFunction(item.span, item.name, time, intervals[-1], step, in_group_by=True)

    def _time_column(self, node: n.ColumnRef) -> Column:
        schema = self.schema
        column = schema.find(node.parts[-1])
        if column is None and node.parts[-1].lower() == ROWTIME and schema.rowtime is not None:
            column = schema.find(schema.rowtime)
        if column is None:
            hint = nearest(node.parts[-1], [known.name for known in schema.columns])
            raise self.fail(f"unknown column {node.parts[-1]!r}{hint}", node)
        attribute = schema.rowtime or schema.proctime
        if attribute is None:
            raise self.fail("windows need a table with a time attribute: a WATERMARK, or AS PROCTIME()", node)
        if column.name != attribute:
            why = "its rows come in order of their event time" if schema.rowtime else "its rows have no other time"
            raise self.fail(f"windows of this table are over {attribute}: {why}", node)
        return column

    def _windows(self, function: WindowFunction) -> Grid | Sessions:
        size = self._millis(function.size, "the gap" if function.kind == "SESSION" else "the size")
        if function.kind == "SESSION":
            return Sessions(size)
        offset = 0
        if function.offset is not None:
            offset = self._millis(function.offset, "the offset", least=None)
        if function.step is None:
            return Grid(size, size, offset)
        name = "the slide" if function.kind == "HOP" else "the step"
        step = self._millis(function.step, name)
        if size % step:
            raise self.fail(f"the size of {function.kind} must be a multiple of {name}", function.size)
        return Grid(size, step, offset, cumulates=function.kind == "CUMULATE")

    def _millis(self, literal: n.Literal, what: str, least: int | None = 1) -> int:
        if literal.type.kind is not Kind.INTERVAL_DAY:
            raise self.fail(f"{what} of a window must be days or less: months differ in length", literal)
        if least is not None and literal.value < least:
            raise self.fail(f"{what} of a window must be positive", literal)
        return int(literal.value)

    # --- keys -----------------------------------------------------------------------------------------

    def _key(self, item: n.Node) -> Column:
        if not isinstance(item, n.ColumnRef) or (len(item.parts) > 1 and item.parts[0].upper() not in self.qualifiers):
            raise self.fail("GROUP BY takes columns of the table and the window only", item)
        column = self.schema.find(item.parts[-1])
        if column is None or len(item.parts) > 2:
            hint = nearest(item.parts[-1], [known.name for known in self.schema.columns])
            raise self.fail(f"unknown column {item.parts[-1]!r}{hint}", item)
        if column.type.kind in (Kind.ARRAY, Kind.MAP, Kind.ROW):
            raise self.fail(f"{column.name} is {column.type.with_nullable(True)}: it cannot be a key", item)
        return column

    def _check_session_keys(self) -> None:
        function = self.function
        if function.kind != "SESSION" or function.in_group_by:
            return
        of_sessions = [self._key(key) for key in function.partition_by]
        if set(of_sessions) != set(self.keys):
            named = ", ".join(column.name for column in self.keys) or "nothing"
            problem = (
                f"sessions are those of their PARTITION BY, and GROUP BY has {named} besides the window: "
                "both must name the same columns"
            )
            nodes = function.partition_by or self.select.group_by
            raise self.fail(problem, *nodes)


_INTERVALS = (Kind.INTERVAL_DAY, Kind.INTERVAL_YEAR)


def is_old_window(node: n.Node) -> bool:
    """Whether an expression is a window of the older form, ``GROUP BY TUMBLE(ts, INTERVAL '5' MINUTE)``."""
    return isinstance(node, n.Call) and node.name in _OLD_KINDS
