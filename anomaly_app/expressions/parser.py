"""Recursive descent over tokens: expressions. Statements and the row pattern clause build on it."""

from __future__ import annotations

from decimal import Decimal

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.call_syntax import inside_of
from anomaly_app.expressions.literals import LiteralParser
from anomaly_app.expressions.reader import RESERVED
from anomaly_app.expressions.refused import refusal
from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import BOOLEAN, DataType, Kind


class ExpressionParser(LiteralParser):
    """Expressions, by precedence: OR, AND, NOT, predicates, ``+ -`` and ``||``, ``* / %``, sign, postfix."""

    def expression(self) -> n.Node:
        """Take an expression."""
        self.deeper()
        node = self._conjunction()
        while self.accept("OR"):
            node = self._binary("OR", node, self._conjunction())
        self.depth -= 1
        return node

    def _binary(self, op: str, left: n.Node, right: n.Node) -> n.Binary:
        return n.Binary(Span(left.span.start, right.span.end), op, left, right)

    def _conjunction(self) -> n.Node:
        node = self._negation()
        while self.accept("AND"):
            node = self._binary("AND", node, self._negation())
        return node

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
                node = self._binary("<>" if op == "!=" else op, node, self.term())
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
                self.accept("ASYMMETRIC")
                if self.at("SYMMETRIC"):
                    raise SqlValidationError(refusal("BETWEEN SYMMETRIC"), self.text, *self.token.span)
                low = self.term()
                self.expect("AND")
                high = self.term()
                node = n.Between(self.span_from(start), node, low, high, negated)
            elif self.accept("IN"):
                self.expect("(")
                if self.at("SELECT") or self.at("WITH"):
                    raise SqlValidationError(refusal("IN (SELECT …)"), self.text, *self.token.span)
                items = self.listed(self.expression)
                self.expect(")")
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
        self.deeper()
        operand = self._signed()
        self.depth -= 1
        if isinstance(operand, n.Literal) and isinstance(operand.value, (int, float, Decimal)) and op == "-":
            return n.Literal(self.span_from(start), -operand.value, operand.type)
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
        if self.at("EXISTS", "("):
            raise SqlValidationError(refusal("EXISTS (SELECT …)"), self.text, *token.span)
        if token.kind == "number":
            self.take()
            return self._number(token)
        if token.kind == "text":
            self.take()
            return n.Literal(token.span, token.value, DataType(Kind.CHAR, len(token.value), nullable=False))
        if token.kind == "sign":
            if self.accept("("):
                if self.at("SELECT") or self.at("WITH"):
                    raise SqlValidationError(refusal("a subquery as a value"), self.text, *self.token.span)
                self.deeper()
                node = self.expression()
                self.depth -= 1
                self.expect(")")
                return node
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
        if word in ("DATE", "TIME", "TIMESTAMP") and self.ahead().kind == "text":
            return self._temporal(word)
        if word == "INTERVAL" and (self.ahead().kind in ("text", "number") or self.ahead().value == "-"):
            return self.interval()
        if self.accept("CASE"):
            return self._case(start)
        if word in ("CAST", "TRY_CAST") and self.ahead().value == "(":
            self.take()
            self.expect("(")
            operand = self.expression()
            self.expect("AS")
            type_ = self.data_type()
            self.expect(")")
            return n.Cast(self.span_from(start), operand, type_, word == "TRY_CAST")
        if word in ("ARRAY", "MAP") and self.ahead().value == "[":
            return self._collection(start)
        if word in ("RUNNING", "FINAL") and self.ahead().kind == "word" and self.ahead(2).value == "(":
            self.take()
            return self._call(start, word)
        if self.ahead().value == "(" and self.ahead().kind == "sign" and word not in RESERVED - {"LEFT", "RIGHT"}:
            return self._call(start, "")
        if (
            word in ("CURRENT_TIMESTAMP", "CURRENT_DATE", "LOCALTIMESTAMP", "CURRENT_TIME")
            and self.ahead().value != "."
        ):
            self.take()
            return n.Call(token.span, word)
        if word in RESERVED or token.kind == "end":
            raise self.expected("an expression")
        return self._column()

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
            condition = self.expression()
            self.expect("THEN")
            branches.append((condition, self.expression()))
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
        inside = inside_of(name, self)
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
        if self.token.kind in ("word", "quoted"):
            raise SqlValidationError(refusal("WINDOW"), self.text, *self.token.span)
        start = self.expect("(").span.start
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
        return n.Window(self.span_from(start), partition, order, " ".join(frame), frame_span)

    def _ordered(self) -> n.Ordered:
        start = self.token.span.start
        node = self.expression()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        if self.at("NULLS"):
            raise SqlValidationError(refusal("NULLS FIRST or LAST"), self.text, *self.token.span)
        return n.Ordered(self.span_from(start), node, descending)


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
