"""Window table functions and GROUP BY: what a windowed aggregation adds to a SELECT.

Both forms of Flink SQL are read, ``FROM TABLE(TUMBLE(TABLE t, …))`` and ``FROM TUMBLE(TABLE t, …)``, with arguments by
position or by name (``SIZE => INTERVAL '5' MINUTE``).
"""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.refused import refusal
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.row_pattern_parser import RowPatternParser
from anomaly_app.sql.windows import KINDS, WindowFunction

_ARGUMENTS = {
    "TUMBLE": ("DATA", "TIMECOL", "SIZE", "OFFSET"),
    "HOP": ("DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"),
    "CUMULATE": ("DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"),
    "SESSION": ("DATA", "TIMECOL", "GAP"),
}


def _listed(arguments: Sequence[str]) -> str:
    return ", ".join(f"{name} if wanted" if name == "OFFSET" else name for name in arguments)


class WindowParser(RowPatternParser):
    """Windows in FROM and in GROUP BY."""

    def at_window_function(self) -> bool:
        """Whether a window table function comes next."""
        return self.at("TABLE", "(") or (self.token.upper in KINDS and self.ahead().value == "(")

    def window_function(self) -> tuple[tuple[str, ...], Span, WindowFunction]:
        """Take a window table function: path of its table, the path's place, and the window."""
        start = self.token.span.start
        wrapped = self.accept("TABLE")
        if wrapped:
            self.expect("(")
        kind = self.token.upper
        if kind not in KINDS:
            raise self.expected(*KINDS)
        self.take()
        self.expect("(")
        given: dict[str, n.Literal] = {}
        path: tuple[str, ...] = ()
        table = Span(start, start)
        keys: tuple[n.ColumnRef, ...] = ()
        time: n.ColumnRef | None = None
        order = list(_ARGUMENTS[kind])
        named = self.ahead().value == "=>"
        seen: set[str] = set()
        while True:
            name = self._argument_name(kind, order, seen, named)
            seen.add(name)
            if name == "DATA":
                path, table, keys = self._data(kind)
            elif name == "TIMECOL":
                time = self._descriptor()
            else:
                given[name] = self._length(name)
            if not self.accept(","):
                break
        self.expect(")")
        if wrapped:
            self.expect(")")
        span = self.span_from(start)
        size = given.get("GAP" if kind == "SESSION" else "SIZE")
        missing = [name for name in order if name not in seen and name != "OFFSET"]
        if missing or time is None or size is None:
            raise SqlSyntaxError(f"{kind} takes {_listed(order)}; {missing[0]} is missing", self.text, *span)
        step = given.get("SLIDE") or given.get("STEP")
        return path, table, WindowFunction(span, kind, time, size, step, given.get("OFFSET"), keys)

    def _argument_name(self, kind: str, order: list[str], seen: set[str], named: bool) -> str:
        if named:
            name = self.token.upper
            if name not in order or name in seen:
                raise self.expected(*(known for known in order if known not in seen))
            self.take()
            self.expect("=>")
            return name
        if len(seen) == len(order):
            problem = f"{kind} takes {_listed(order)}, and no more"
            raise SqlSyntaxError(problem, self.text, *self.token.span)
        return order[len(seen)]

    def _data(self, kind: str) -> tuple[tuple[str, ...], Span, tuple[n.ColumnRef, ...]]:
        if self.at("(") or self.at("TABLE", "("):
            raise SqlValidationError("a subquery in a window is not supported: name a table", self.text,
                                     *self.token.span)  # fmt: skip
        self.expect("TABLE")
        start = self.token.span.start
        path = self.path("a table name")
        span = self.span_from(start)
        keys: tuple[n.ColumnRef, ...] = ()
        if self.at("PARTITION"):
            if kind != "SESSION":
                problem = f"PARTITION BY is for SESSION: the windows of {kind} are the same for all keys"
                raise SqlValidationError(problem, self.text, *self.token.span)
            self.expect("PARTITION", "BY")
            if self.accept("("):
                keys = self.listed(self._key)
                self.expect(")")
            else:
                keys = (self._key(),)
        return path, span, keys

    def _key(self) -> n.ColumnRef:
        start = self.token.span.start
        name = self.identifier("a column")
        return n.ColumnRef(self.span_from(start), (name,))

    def _descriptor(self) -> n.ColumnRef:
        self.expect("DESCRIPTOR", "(")
        column = self._key()
        self.expect(")")
        return column

    def _length(self, name: str) -> n.Literal:
        if not self.at("INTERVAL"):
            raise self.expected(f"the {name} as an interval, such as INTERVAL '5' MINUTE")
        return self.interval()

    def _group(self) -> n.Node:
        for words in (("GROUPING", "SETS"), ("ROLLUP", "("), ("CUBE", "(")):
            if self.at(*words):
                clause = " ".join(word for word in words if word != "(")
                raise SqlValidationError(refusal(clause), self.text, *self.token.span)
        return self.expression()

    def grouping(self) -> tuple[tuple[n.Node, ...], n.Node | None]:
        """Take GROUP BY and HAVING, if they come next: the items, and the condition."""
        if self.at("HAVING"):
            raise SqlValidationError("HAVING needs a GROUP BY before it", self.text, *self.token.span)
        if not self.accept("GROUP"):
            return (), None
        self.expect("BY")
        items = self.listed(self._group)
        return items, self.expression() if self.accept("HAVING") else None
