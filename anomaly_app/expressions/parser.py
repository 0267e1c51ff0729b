"""Recursive descent over tokens: expressions. Statements and the row pattern clause build on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from anomaly_app.errors import SqlSyntaxError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.call_syntax import DIFFERENCE, OVERLAPS, CallParser
from anomaly_app.expressions.reader import RESERVED
from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import BOOLEAN, DataType, Kind

WITHOUT_BRACKETS = frozenset({"CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIME", "LOCALTIMESTAMP"})
"""Functions that may stand without brackets."""

LONG_CHAIN = 50
"""Conditions in a row that stay one below the other."""


class ExpressionParser(CallParser):
    """Expressions, by precedence: OR, AND, NOT, predicates, ``+ -`` and ``||``, ``* / %``, sign, postfix."""

    def at_query(self) -> bool:
        """Whether a query comes next: it may stand where only an expression is read, for an error that says so."""
        return self.at("SELECT")

    def subquery(self) -> Any:
        """Take a query inside an expression; parsers of whole statements do."""
        raise SqlSyntaxError("a subquery is not supported here", self.text, *self.token.span)

    def expression(self) -> n.Node:
        """Take an expression."""
        self.deeper()
        node = self._chain("OR", self._conjunction)
        self.depth -= 1
        return node

    def _chain(self, op: str, part: Callable[[], n.Node]) -> n.Node:
        """Parts with AND or OR between them. A long chain becomes a tree of few levels, which says the same."""
        parts = [part()]
        while self.accept(op):
            parts.append(part())
        while len(parts) > LONG_CHAIN:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            rest = parts[-1:] if len(parts) % 2 else []
            parts = [*(self._binary(op, left, right) for left, right in pairs), *rest]
        node = parts[0]
        for other in parts[1:]:
            node = self._binary(op, node, other)
        return node

    def _binary(self, op: str, left: n.Node, right: n.Node) -> n.Binary:
        return n.Binary(Span(left.span.start, right.span.end), op, left, right)

    def _compared(self, op: str, left: n.Node, right: n.Node) -> n.Node:
        if not isinstance(left, n.Call) or not isinstance(right, n.Call) or not left.name == right.name == "ROW":
            return self._binary(op, left, right)
        if op != "=" or len(left.args) != len(right.args) or not left.args:
            return self._binary(op, left, right)
        # Rows written out are equal if all their parts are, with NULL as in any condition.
        equal: n.Node = self._binary("=", left.args[0], right.args[0])
        for one, other in zip(left.args[1:], right.args[1:], strict=True):
            equal = self._binary("AND", equal, self._binary("=", one, other))
        return equal

    def _row_in(self, row: n.Call, items: tuple[n.Node, ...], negated: bool) -> n.Node:
        """``(a, b) IN ((1, 2), …)``: equal to one of the rows, part by part, with NULL as in any condition."""
        found = self._compared("=", row, items[0])
        for item in items[1:]:
            found = self._binary("OR", found, self._compared("=", row, item))
        return n.Unary(self.span_from(row.span.start), "NOT", found) if negated else found

    def _conjunction(self) -> n.Node:
        return self._chain("AND", self._negation)

    def _negation(self) -> n.Node:
        start = self.token.span.start
        if self.accept("NOT"):
            self.deeper()
            operand = self._negation()
            self.depth -= 1
            return n.Unary(self.span_from(start), "NOT", operand)
        return self._predicate()

    def _predicate(self) -> n.Node:
        node = self.term()
        while True:
            start = node.span.start
            op = self.accept_any(("=", "<>", "!=", "<=", ">=", "<", ">"))
            if op:
                node = self._compared("<>" if op == "!=" else op, node, self.term())
                continue
            if self.accept("IS"):
                negated = self.accept("NOT")
                if self.accept("DISTINCT", "FROM"):
                    op = "IS NOT DISTINCT FROM" if negated else "IS DISTINCT FROM"
                    node = self._binary(op, node, self.term())
                    continue
                what = self.accept_any(("NULL", "TRUE", "FALSE", "UNKNOWN", "JSON"))
                if not what:
                    raise self.expected("NULL", "TRUE", "FALSE", "UNKNOWN", "JSON", "DISTINCT FROM")
                if what == "JSON":
                    what = "JSON " + (self.accept_any(("VALUE", "OBJECT", "ARRAY", "SCALAR")) or "VALUE")
                node = n.Is(self.span_from(start), node, "NULL" if what == "UNKNOWN" else what, negated)
                continue
            negated = self.at("NOT") and self.ahead().upper in ("BETWEEN", "IN", "LIKE", "SIMILAR")
            if negated:
                self.take()
            if self.accept("BETWEEN"):
                symmetric = self.accept("SYMMETRIC")
                if not symmetric:
                    self.accept("ASYMMETRIC")
                low = self.term()
                self.expect("AND")
                high = self.term()
                node = n.Between(self.span_from(start), node, low, high, negated, symmetric)
            elif self.accept("IN"):
                self.expect("(")
                if self.at_query():
                    query = self.subquery()
                    self.expect(")")
                    node = n.InQuery(self.span_from(start), node, query, negated)
                    continue
                items = self.listed(self.expression)
                self.expect(")")
                if isinstance(node, n.Call) and node.name == "ROW":
                    node = self._row_in(node, items, negated)
                else:
                    node = n.InList(self.span_from(start), node, items, negated)
            elif self.at("LIKE") or self.at("SIMILAR"):
                similar = self.take().upper == "SIMILAR"
                if similar:
                    self.expect("TO")
                pattern = self.term()
                escape = self.term() if self.accept("ESCAPE") else None
                node = n.Like(self.span_from(start), node, pattern, escape, negated, similar)
            else:
                return node

    def term(self) -> n.Node:
        """Take a sum, or anything that binds closer."""
        node = self._product()
        while op := self.accept_any(("+", "-", "||")):
            node = self._binary(op, node, self._product())
        return node

    def _product(self) -> n.Node:
        node = self._signed()
        while op := self.accept_any(("*", "/", "%")):
            node = self._binary(op, node, self._signed())
        return node

    def _signed(self) -> n.Node:
        start = self.token.span.start
        op = self.accept_any(("-", "+"))
        if not op:
            return self._postfix()
        if op == "-" and self.token.kind == "number":
            token = self.take()
            return self.number(token, self.span_from(start), negative=True)
        self.deeper()
        operand = self._signed()
        self.depth -= 1
        return n.Unary(self.span_from(start), op, operand) if op == "-" else operand

    def _postfix(self) -> n.Node:
        node = self._primary()
        while True:
            if self.accept("["):
                index = self.expression()
                self.expect("]")
                node = n.Index(self.span_from(node.span.start), node, index)
            elif self.at(".") and not isinstance(node, n.Literal):
                self.take()
                name = self.identifier("a field name")
                node = n.Field(self.span_from(node.span.start), node, name)
            else:
                return node

    def _primary(self) -> n.Node:
        token, start = self.token, self.token.span.start
        if token.kind == "number":
            self.take()
            return self.number(token, token.span)
        if token.kind == "bytes":
            return self.bytes_literal()
        if token.kind == "text":
            self.take()
            return n.Literal(token.span, token.value, DataType(Kind.CHAR, len(token.value), nullable=False))
        if token.kind == "sign":
            if self.accept("("):
                if self.at_query():
                    query = self.subquery()
                    self.expect(")")
                    return n.ScalarQuery(self.span_from(start), query)
                self.deeper()
                parts = self.listed(self.expression)
                self.depth -= 1
                self.expect(")")
                if len(parts) == 2 and self.at("OVERLAPS"):
                    return self._overlaps(start, parts)
                node = parts[0]
                if len(parts) > 1:
                    return n.Call(self.span_from(start), "ROW", parts)
                if isinstance(node, n.Binary) and node.op == "-" and self.unit_ahead():
                    return self._difference(start, node)
                return node
            if self.accept("{", "FN"):  # a function call, as JDBC writes it
                node = self.expression()
                self.expect("}")
                return node
            if self.at("{"):
                return self._escaped_temporal()
            if self.accept("*"):
                return n.Star(token.span)
            raise self.expected("an expression")
        if token.kind == "quoted":
            return self._column()
        word = token.upper
        if word in ("TRUE", "FALSE"):
            self.take()
            return n.Literal(token.span, word == "TRUE", BOOLEAN.with_nullable(False))
        if self.accept("NULL"):
            return n.Literal(token.span, None, DataType(Kind.NULL))
        if word == "UNKNOWN" and self.ahead().value not in (".", "("):
            self.take()
            return n.Literal(token.span, None, BOOLEAN)
        if word in ("DATE", "TIME", "TIMESTAMP") and self.ahead().kind == "text":
            self.take()
            return self._temporal(word, start)
        if word == "EXISTS" and self.ahead().value == "(":
            self.take()
            self.expect("(")
            query = self.subquery()
            self.expect(")")
            return n.Exists(self.span_from(start), query)
        if word == "INTERVAL" and self.ahead().kind in ("text", "number"):
            return self.interval()
        if word == "INTERVAL" and self.ahead().value in ("-", "+") and self.ahead(2).kind in ("text", "number"):
            return self.interval()
        if word == "INTERVAL" and self.interval_of_ahead():
            return self._interval_of(start)
        if word == "PERIOD" and self.ahead().value == "(":
            self.take()
            return self._overlaps(start, self._start_and_end())
        if self.accept("CASE"):
            return self._case(start)
        if word in ("CAST", "TRY_CAST") and self.ahead().value == "(":
            self.take()
            self.expect("(")
            operand = self.expression()
            self.expect("AS")
            self.wide_decimals = True
            type_ = self.data_type()
            self.wide_decimals = False
            self.expect(")")
            return n.Cast(self.span_from(start), operand, type_, word == "TRY_CAST")
        if word in ("ARRAY", "MAP") and self.ahead().value == "[":
            return self._collection(start)
        if word in ("RUNNING", "FINAL") and self.ahead().kind == "word" and self.ahead(2).value == "(":
            self.take()
            return self._call(start, word)
        if self.ahead().value == "(" and self.ahead().kind == "sign" and word not in RESERVED - {"LEFT", "RIGHT"}:
            return self._call(start, "")
        if word in WITHOUT_BRACKETS and self.ahead().value != ".":
            self.take()
            return n.Call(token.span, word)
        if word in RESERVED or token.kind == "end":
            raise self.expected("an expression")
        return self._column()

    def _interval_of(self, start: int) -> n.Node:
        """``INTERVAL expression unit``: so many of it."""
        self.expect("INTERVAL")
        if self.accept("("):  # a difference in brackets is no interval here, though a unit follows
            self.deeper()
            count = self.expression()
            self.depth -= 1
            self.expect(")")
        else:
            count = self._postfix()
        type_, one = self.interval_type(self.interval_unit())
        span = self.span_from(start)
        return n.Binary(span, "*", count, n.Literal(span, one, type_))

    def _difference(self, start: int, node: n.Binary) -> n.Node:
        """``(a - b) unit``, the brackets taken."""
        words = (self.interval_unit(), self.interval_unit() if self.accept("TO") else "")
        return n.Call(self.span_from(start), DIFFERENCE, (node.left, node.right), words=words)

    def _overlaps(self, start: int, first: Sequence[n.Node]) -> n.Node:
        """``(start, end or interval) OVERLAPS (start, end or interval)``, the first two taken."""
        self.expect("OVERLAPS")
        self.accept("PERIOD")
        return n.Call(self.span_from(start), OVERLAPS, (*first, *self._start_and_end()))

    def _start_and_end(self) -> tuple[n.Node, n.Node]:
        self.expect("(")
        start = self.expression()
        self.expect(",")
        end = self.expression()
        self.expect(")")
        return start, end

    def _column(self) -> n.Node:
        start = self.token.span.start
        parts = [self.identifier("a column")]
        while self.at("."):
            if self.ahead().value == "*" and self.ahead().kind == "sign":
                self.take()
                self.take()
                return n.Star(self.span_from(start), parts[-1])
            self.take()
            # behind a dot even a keyword can only be a name
            if self.token.kind not in ("word", "quoted"):
                raise self.expected("a column")
            parts.append(self.take().value)
        return n.ColumnRef(self.span_from(start), tuple(parts))

    def _case(self, start: int) -> n.Case:
        operand = None if self.at("WHEN") else self.expression()
        branches = []
        while self.accept("WHEN"):
            conditions = self.listed(self.expression) if operand is not None else (self.expression(),)
            self.expect("THEN")
            result = self.expression()
            branches += [(condition, result) for condition in conditions]
        if not branches:
            raise self.expected("WHEN")
        otherwise = self.expression() if self.accept("ELSE") else None
        self.expect("END")
        return n.Case(self.span_from(start), operand, tuple(branches), otherwise)

    def _collection(self, start: int) -> n.Call:
        name = self.take().upper
        self.expect("[")
        members = () if self.at("]") else self.listed(self.expression)
        self.expect("]")
        return n.Call(self.span_from(start), name, members)

    def _call(self, start: int, semantics: str) -> n.Node:
        name = self.take().upper
        self.expect("(")
        inside = self.inside_of(name)
        self.expect(")")
        condition = None
        if self.accept("FILTER"):
            self.expect("(", "WHERE")
            condition = self.expression()
            self.expect(")")
        over = self._over() if self.accept("OVER") else None
        args = tuple(inside.args)
        span = self.span_from(start)
        return n.Call(span, name, args, inside.distinct, semantics, inside.words, condition, over, inside.json)

    def _over(self) -> n.Window:
        if not self.at("("):
            place = self.token.span
            name = self.identifier("(, or the name of a window")
            return n.Window(place, (), (), "", place, name)
        return self._over_clause()

    def _over_clause(self) -> n.Window:
        start = self.expect("(").span.start
        name = ""
        if self.token.kind in ("word", "quoted") and not any(
            self.at(w) for w in ("PARTITION", "ORDER", "RANGE", "ROWS")
        ):
            name = self.identifier("PARTITION BY, ORDER BY")
        partition: tuple[n.Node, ...] = ()
        order: tuple[n.Ordered, ...] = ()
        if self.accept("PARTITION"):
            self.expect("BY")
            partition = self.listed(self.expression)
        if self.accept("ORDER"):
            self.expect("BY")
            order = self.listed(self._ordered)
        frame = []
        frame_start = self.token.span.start
        if not self.at("RANGE") and not self.at("ROWS") and not self.at(")"):
            raise self.expected("RANGE", "ROWS", ")")
        while not self.at(")"):
            if self.token.kind == "end":
                raise self.expected(")")
            frame.append(self.take().value.upper())
        frame_span = self.span_from(frame_start)
        self.expect(")")
        return n.Window(self.span_from(start), partition, order, " ".join(frame), frame_span, name)

    def _ordered(self) -> n.Ordered:
        start = self.token.span.start
        node = self.expression()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        nulls_first: bool | None = None
        if self.accept("NULLS"):
            nulls_first = self.accept("FIRST")
            if not nulls_first:
                self.expect("LAST")
        return n.Ordered(self.span_from(start), node, descending, nulls_first)


def parse_expression(text: str) -> n.Node:
    """Parse a text that is one expression.

    Example:
        >>> parse_expression("a + 1 > 2").op
        '>'
    """
    parser = ExpressionParser(text)
    node = parser.expression()
    if parser.token.kind != "end":
        raise parser.expected("the end of the expression")
    return node
