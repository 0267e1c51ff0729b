"""Recursive descent for queries: SELECT, joins, set operations, VALUES, WITH, ORDER BY, LIMIT."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.refused import refusal
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.predict_parser import PredictParser
from anomaly_app.sql.queries import (
    FromItem,
    Join,
    Ordered,
    Predict,
    QueryTree,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
    Unnest,
    Values,
)
from anomaly_app.sql.row_pattern import MatchRecognize, OrderItem
from anomaly_app.sql.windows import WindowFunction

_CLAUSES = frozenset(
    "WHERE GROUP HAVING ORDER LIMIT OFFSET FETCH UNION INTERSECT EXCEPT MINUS JOIN INNER LEFT RIGHT FULL CROSS NATURAL "
    "ON USING WINDOW PIVOT QUALIFY MATCH_RECOGNIZE FOR SET".split()
)
"""Words that begin what may follow an item of FROM: no alias."""


class QueryParser(PredictParser):
    """A query with everything in it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._named: dict[str, QueryTree] = {}
        self._windows: dict[str, n.Window] = {}

    # --- whole queries --------------------------------------------------------------------------------

    def at_query(self) -> bool:
        """Whether a query comes next."""
        return self.at("SELECT") or self.at("WITH") or self.at("VALUES")

    def query(self) -> QueryTree:
        """Take a query, perhaps with names that WITH gives to others."""
        self.deeper()
        outside = self._named
        if self.accept("WITH"):
            self._named = dict(outside)
            self._with(outside)
        start = self.token.span.start
        tree = self._ordered_query(self._set_operations(), start)
        self._named = outside
        self.depth -= 1
        return tree

    def subquery(self) -> QueryTree:
        """A query inside an expression, in parentheses that the caller takes."""
        return self.query()

    def _with(self, outside: dict[str, QueryTree]) -> None:
        if self.at("RECURSIVE"):
            raise SqlValidationError(refusal("WITH RECURSIVE"), self.text, *self.token.span)
        own: set[str] = set()
        while True:
            place = self.token.span
            name = self.identifier("a name for a query")
            if name in own:
                raise SqlValidationError(f"WITH names {name} twice", self.text, *place)
            own.add(name)
            columns: tuple[str, ...] = ()
            if self.accept("("):
                columns = self.listed(self.identifier)
                self.expect(")")
            self.expect("AS", "(")
            tree = self.query()
            self.expect(")")
            if columns:
                star = SelectItem(n.Star(place), None, place)
                tree = Select(place, (star,), Subquery(place, tree, None, columns), text=self.text)
            self._named[name] = tree
            if not self.accept(","):
                return

    def _ordered_query(self, tree: QueryTree, start: int) -> QueryTree:
        order_by: tuple[OrderItem, ...] = ()
        limit: int | None = None
        offset = 0
        if self.accept("ORDER"):
            self.expect("BY")
            order_by = self.listed(self._order_item)
        while True:
            if self.accept("LIMIT"):
                if not self.accept("ALL"):
                    limit = self.whole_number("the number of rows")
            elif self.accept("OFFSET"):
                offset = self.whole_number("the number of rows to leave out")
                self.accept_any(("ROWS", "ROW"))
            elif self.accept("FETCH"):
                if not self.accept_any(("FIRST", "NEXT")):
                    raise self.expected("FIRST", "NEXT")
                limit = 1 if self.at("ROW") or self.at("ROWS") else self.whole_number("the number of rows")
                if not self.accept_any(("ROWS", "ROW")):
                    raise self.expected("ROWS")
                self.expect("ONLY")
            else:
                break
        if not order_by and limit is None and not offset:
            return tree
        return Ordered(self.span_from(start), tree, order_by, limit, offset, self.text)

    def _set_operations(self) -> QueryTree:
        """UNION and EXCEPT from the left; INTERSECT binds more tightly."""
        start = self.token.span.start
        tree = self._intersections()
        while kind := self.accept_any(("UNION", "EXCEPT", "MINUS")):
            all_ = self.accept("ALL")
            if not all_:
                self.accept("DISTINCT")
            right = self._intersections()
            kind = "EXCEPT" if kind == "MINUS" else kind
            tree = SetOperation(self.span_from(start), kind, all_, tree, right, self.text)
        return tree

    def _intersections(self) -> QueryTree:
        start = self.token.span.start
        tree = self._simple_query()
        while self.accept("INTERSECT"):
            all_ = self.accept("ALL")
            if not all_:
                self.accept("DISTINCT")
            tree = SetOperation(self.span_from(start), "INTERSECT", all_, tree, self._simple_query(), self.text)
        return tree

    def _simple_query(self) -> QueryTree:
        if self.at("("):
            self.take()
            tree = self.query()
            self.expect(")")
            return tree
        if self.at("VALUES"):
            return self._values()
        if not self.at("SELECT"):
            raise self.expected("SELECT", "VALUES")
        return self._select()

    def _values(self) -> Values:
        start = self.expect("VALUES").span.start
        rows = self.listed(self._value_row)
        return Values(self.span_from(start), rows, self.text)

    def _value_row(self) -> tuple[n.Node, ...]:
        self.accept("ROW")
        if not self.accept("("):
            return (self.expression(),)
        row = self.listed(self.expression)
        self.expect(")")
        return row

    # --- SELECT ---------------------------------------------------------------------------------------

    def _select(self) -> Select:
        outside, self._windows = self._windows, {}
        start = self.expect("SELECT").span.start
        distinct = self.accept("DISTINCT")
        if not distinct:
            self.accept("ALL")
        items = self.listed(self._item)
        table: FromItem | None = None
        window: WindowFunction | None = None
        match: MatchRecognize | None = None
        if self.accept("FROM"):
            table, window, match = self._from()
        where = self.expression() if self.accept("WHERE") else None
        group_by, sets, having = self.grouping()
        if self.accept("WINDOW"):
            self.listed(self._named_window)
        qualify = self.expression() if self.accept("QUALIFY") else None
        if self._windows or any(_names_window(item.expr) for item in items):
            items = tuple(replace(item, expr=self._with_windows(item.expr)) for item in items)
        if qualify is not None:
            qualify = self._with_windows(qualify)
        span = self.span_from(start)
        select = Select(span, items, table, match, where, window, group_by, having, distinct, sets, qualify, self.text)
        self._windows = outside
        return select

    def _item(self) -> SelectItem:
        start = self.token.span.start
        expr = self.expression()
        alias = self._alias()
        return SelectItem(expr, alias, self.span_from(start))

    def _named_window(self) -> None:
        place = self.token.span
        name = self.identifier("a name for the window")
        if name in self._windows:
            raise SqlValidationError(f"window {name} is defined twice", self.text, *place)
        self.expect("AS")
        self._windows[name] = self._over_clause()

    def _with_windows(self, node: n.Node) -> n.Node:
        """An expression in which the names of windows are replaced by what WINDOW says of them."""

        def named(part: n.Node) -> n.Node:
            if not isinstance(part, n.Call) or part.over is None or not part.over.name:
                return part
            known = self._windows.get(part.over.name)
            if known is None:
                have = (
                    f": WINDOW defines {', '.join(self._windows)}" if self._windows else ": there is no WINDOW clause"
                )
                raise SqlValidationError(f"unknown window {part.over.name!r}{have}", self.text, *part.over.span)
            window = part.over
            return replace(
                part,
                over=replace(
                    known,
                    span=window.span,
                    partition_by=known.partition_by or window.partition_by,
                    order_by=known.order_by or window.order_by,
                    frame=window.frame or known.frame,
                ),
            )

        return n.rewritten(node, named)

    # --- FROM -----------------------------------------------------------------------------------------

    def _from(self) -> tuple[FromItem, WindowFunction | None, MatchRecognize | None]:
        """What stands in FROM; a single window function or MATCH_RECOGNIZE is part of the SELECT itself."""
        start = self.token.span.start
        item, window, match = self._source()
        joined = False
        while True:
            kind = self._join_kind()
            if not kind:
                return item, window, match
            if not joined:
                item, window, match = self._as_item(item, window, match, start), None, None
                joined = True
            item = self._join(item, kind, start)

    def _as_item(
        self, item: FromItem, window: WindowFunction | None, match: MatchRecognize | None, start: int
    ) -> FromItem:
        """An item that can be one side of a join."""
        if window is None and match is None:
            return item
        span = self.span_from(start)
        alias = match.alias if match is not None else item.alias if isinstance(item, (TableRef, Subquery)) else None
        star = SelectItem(n.Star(span), None, span)
        return Subquery(span, Select(span, (star,), item, match, None, window, text=self.text), alias)

    def _join_kind(self) -> str:
        """Kind of the join that comes next, its words taken; "" if none does."""
        if self.accept(","):
            return "COMMA"
        natural = "NATURAL " if self.accept("NATURAL") else ""
        for word in ("LEFT", "RIGHT", "FULL"):
            if self.at(word, "JOIN") or self.at(word, "OUTER", "JOIN"):
                self.take()
                self.accept("OUTER")
                self.take()
                return natural + word
        if self.accept("CROSS"):
            self.expect("JOIN")
            return "CROSS"
        if self.accept("INNER"):
            self.expect("JOIN")
            return natural + "INNER"
        if self.accept("JOIN"):
            return natural + "INNER"
        if natural:
            raise self.expected("JOIN")
        return ""

    def _join(self, left: FromItem, kind: str, start: int) -> Join:
        natural, kind = kind.startswith("NATURAL "), kind.removeprefix("NATURAL ")
        place = self.token.span.start
        right = self._as_item(*self._source(), place)
        condition: n.Node | None = None
        using: tuple[str, ...] = ()
        if kind == "COMMA":
            kind = "CROSS"
        elif kind != "CROSS" and not natural:
            if self.accept("ON"):
                condition = self.expression()
            elif self.accept("USING"):
                self.expect("(")
                using = self.listed(self.identifier)
                self.expect(")")
            elif not isinstance(right, (Unnest, Predict)):
                raise self._no_condition()
        return Join(self.span_from(start), kind, left, right, condition, using, natural)

    def _no_condition(self) -> SqlValidationError:
        problem = "a join needs ON and a condition (or USING, or CROSS JOIN for every pair)"
        return SqlValidationError(problem, self.text, *self.token.span)

    def _source(self) -> tuple[FromItem, WindowFunction | None, MatchRecognize | None]:
        start = self.token.span.start
        window: WindowFunction | None = None
        item: FromItem
        if self.at_predict():
            alone = self.predict()
            alias, columns = self._alias_and_columns()
            return replace(alone, alias=alias, columns=columns), None, None
        if self.at("LATERAL", "TABLE"):
            raise SqlValidationError(refusal("LATERAL"), self.text, *self.token.span)
        self.accept("LATERAL")
        if self.at("UNNEST"):
            return self._unnest(), None, None
        if self.at_window_function():
            data, window = self.window_function()
            alias, columns = self._alias_and_columns()
            item = replace(data, alias=alias, columns=columns)
        elif self.at("("):
            item = self._parenthesised(start)
        else:
            item = self._table(start)
        match: MatchRecognize | None = None
        if self.at("PIVOT", "("):
            raise SqlValidationError(refusal("PIVOT"), self.text, *self.token.span)
        if self.at("MATCH_RECOGNIZE"):
            match = self.match_recognize()
            match_alias = self._alias()
            if match_alias is not None:
                match = replace(match, alias=match_alias)
        return item, window, match

    def _parenthesised(self, start: int) -> FromItem:
        self.expect("(")
        self.deeper()
        if self.at_query() or self._query_in_parentheses():
            query = self.query()
            self.expect(")")
            alias, columns = self._alias_and_columns()
            item: FromItem = Subquery(self.span_from(start), query, alias, columns)
        else:
            inner = self.token.span.start
            item = self._as_item(*self._from(), inner)
            self.expect(")")
        self.depth -= 1
        return item

    def _query_in_parentheses(self) -> bool:
        """Whether parentheses come next in which, after perhaps more of them, a query stands."""
        distance = 0
        while self.ahead(distance).value == "(" and self.ahead(distance).kind == "sign":
            distance += 1
        return distance > 0 and self.ahead(distance).upper in ("SELECT", "WITH", "VALUES")

    def _table(self, start: int) -> TableRef | Subquery:
        path = self.path("a table name")
        as_of: n.Node | None = None
        if self.accept("FOR"):
            self.expect("SYSTEM_TIME", "AS", "OF")
            as_of = self.expression()
        alias, columns = self._alias_and_columns()
        place = self.span_from(start)
        item = self.named_table(path, place)
        if isinstance(item, Subquery):
            alias = alias or path[0]
        return replace(item, alias=alias, columns=columns, as_of=as_of)

    def named_table(self, path: tuple[str, ...], span: Span) -> TableRef | Subquery:
        """A table, or what WITH gives that name."""
        named = self._named.get(path[0]) if len(path) == 1 else None
        return TableRef(span, path, None) if named is None else Subquery(span, named, path[0])

    def _unnest(self) -> Unnest:
        start = self.expect("UNNEST").span.start
        self.expect("(")
        expr = self.expression()
        self.expect(")")
        ordinality = self.accept("WITH", "ORDINALITY")
        alias, columns = self._alias_and_columns()
        return Unnest(self.span_from(start), expr, ordinality, alias, columns)

    def _alias_and_columns(self) -> tuple[str | None, tuple[str, ...]]:
        alias = self._alias()
        if alias is None or not self.accept("("):
            return alias, ()
        columns = self.listed(self.identifier)
        self.expect(")")
        return alias, columns

    def _alias(self) -> str | None:
        if self.accept("AS"):
            return self.identifier("an alias")
        token = self.token
        if self.at_next_statement():
            return None
        if token.kind == "quoted" or (token.kind == "word" and token.upper not in _CLAUSES):
            try:
                return self.identifier()
            except SqlSyntaxError:
                return None
        return None


def _names_window(node: n.Node) -> bool:
    return any(isinstance(part, n.Call) and part.over is not None and part.over.name for part in n.walk(node))
