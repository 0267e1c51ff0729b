"""Window table functions and GROUP BY: what a windowed aggregation adds to a SELECT.

Both forms of Flink SQL are read, ``FROM TABLE(TUMBLE(TABLE t, …))`` and ``FROM TUMBLE(TABLE t, …)``, with arguments by
position or by name (``SIZE => INTERVAL '5' MINUTE``).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.queries import QueryTree, Subquery, TableRef
from anomaly_app.sql.row_pattern_parser import RowPatternParser
from anomaly_app.sql.windows import KINDS, WindowFunction

_ARGUMENTS = {
    "TUMBLE": ("DATA", "TIMECOL", "SIZE", "OFFSET"),
    "HOP": ("DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"),
    "CUMULATE": ("DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"),
    "SESSION": ("DATA", "TIMECOL", "GAP"),
}

MAX_GROUPING_SETS = 1_000
"""Of one GROUP BY: beyond it is a mistake."""


def _listed(arguments: Sequence[str]) -> str:
    return ", ".join(f"{name} if wanted" if name == "OFFSET" else name for name in arguments)


class WindowParser(RowPatternParser):
    """Windows in FROM and in GROUP BY."""

    def at_window_function(self) -> bool:
        """Whether a window table function comes next."""
        return self.at("TABLE", "(") or (self.token.upper in KINDS and self.ahead().value == "(")

    def query(self) -> QueryTree:
        """Take a query."""
        raise NotImplementedError

    def window_function(self) -> tuple[TableRef | Subquery, WindowFunction]:
        """Take a window table function: what it windows, and the window."""
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
        data: TableRef | Subquery | None = None
        keys: tuple[n.ColumnRef, ...] = ()
        time: n.ColumnRef | None = None
        order = list(_ARGUMENTS[kind])
        named = self.ahead().value == "=>"
        seen: set[str] = set()
        while True:
            name = self._argument_name(kind, order, seen, named)
            seen.add(name)
            if name == "DATA":
                data, keys = self.table_argument(kind)
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
        if missing or time is None or size is None or data is None:
            raise SqlSyntaxError(f"{kind} takes {_listed(order)}; {missing[0]} is missing", self.text, *span)
        step = given.get("SLIDE") or given.get("STEP")
        return data, WindowFunction(span, kind, time, size, step, given.get("OFFSET"), keys)

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

    def table_argument(self, kind: str) -> tuple[TableRef | Subquery, tuple[n.ColumnRef, ...]]:
        """Take the table that a table function is about, and PARTITION BY of SESSION."""
        start = self.token.span.start
        wrapped = self.accept("TABLE")
        data: TableRef | Subquery
        if self.accept("("):
            query = self.query()
            self.expect(")")
            data = Subquery(self.span_from(start), query, None)
        elif wrapped:
            start = self.token.span.start
            data = self.named_table(self.path("a table name"), self.span_from(start))
        else:
            raise self.expected("TABLE")
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
        return data, keys

    def named_table(self, path: tuple[str, ...], span: Span) -> TableRef | Subquery:
        """A table, or what WITH gives that name."""
        return TableRef(span, path, None)

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

    def grouping(self) -> tuple[tuple[n.Node, ...], tuple[tuple[int, ...], ...] | None, n.Node | None]:
        """Take GROUP BY and HAVING, if they come next: the items, the grouping sets, and the condition.

        A grouping set is the places of its items; None if GROUP BY has none of GROUPING SETS, ROLLUP and CUBE.
        """
        items: list[n.Node] = []
        factors: list[list[tuple[n.Node, ...]]] = []
        if self.accept("GROUP"):
            self.expect("BY")
            self.listed(lambda: factors.append(self._grouping_element()))
        having = self.expression() if self.accept("HAVING") else None
        if all(len(factor) == 1 for factor in factors):
            return tuple(node for (element,) in factors for node in element), None, having
        sets: list[tuple[int, ...]] = []
        for combination in itertools.product(*factors):
            places: list[int] = []
            for node in itertools.chain.from_iterable(combination):
                shape = n.shape(node)
                place = next((place for place, known in enumerate(items) if n.shape(known) == shape), len(items))
                if place == len(items):
                    items.append(node)
                places.append(place)
            sets.append(tuple(dict.fromkeys(places)))
        if len(sets) > MAX_GROUPING_SETS:
            problem = f"GROUP BY has {len(sets)} grouping sets, and {MAX_GROUPING_SETS} are the most"
            raise SqlValidationError(problem, self.text, *items[0].span)
        return tuple(items), tuple(sets), having

    def _grouping_element(self) -> list[tuple[n.Node, ...]]:
        """The grouping sets that one element of GROUP BY stands for."""
        if self.accept("GROUPING"):
            self.expect("SETS", "(")
            elements = self.listed(self._grouping_element)
            self.expect(")")
            return [set_ for element in elements for set_ in element]
        word = self.accept_any(("ROLLUP", "CUBE")) if self.ahead().value == "(" else ""
        if not word:
            return [self._grouping_set()]
        self.expect("(")
        parts = self.listed(self._grouping_set)
        self.expect(")")
        if word == "ROLLUP":
            chosen = [parts[:length] for length in range(len(parts), -1, -1)]
        else:
            masks = itertools.product((True, False), repeat=len(parts)) if len(parts) < 10 else ()
            chosen = [tuple(itertools.compress(parts, mask)) for mask in masks]
        return [tuple(itertools.chain.from_iterable(choice)) for choice in chosen]

    def _grouping_set(self) -> tuple[n.Node, ...]:
        """``a``, or ``(a, b)``, or ``()``."""
        if not self.at("("):
            return (self.expression(),)
        if self.at("(", ")"):
            self.take()
            self.take()
            return ()
        first = self.place
        self.take()
        nodes = self.listed(self.expression)
        closed = self.accept(")") and (self.at(",") or self.at(")") or self.at(";"))
        if closed or self.token.kind == "end" or self.token.upper in ("HAVING", "WINDOW", "ORDER", "UNION", "LIMIT"):
            return nodes
        self.place = first  # the parentheses belong to an expression
        return (self.expression(),)
