"""Recursive descent over tokens: expressions and data types. Statements and the row pattern clause build on it."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, TypeVar

from anomaly_app.errors import SqlSyntaxError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span, Token, tokenize
from anomaly_app.schema import BIGINT, BOOLEAN, DOUBLE, INT, DataType, Kind

T = TypeVar("T")

MAX_DEPTH = 100
"""Nesting at most: deeper input is a mistake or an attack, and would overflow the stack."""

RESERVED = frozenset(
    "SELECT FROM WHERE GROUP HAVING ORDER LIMIT UNION AND OR NOT IS NULL TRUE FALSE CASE WHEN THEN ELSE END BETWEEN IN "
    "LIKE AS ON JOIN INNER LEFT RIGHT FULL CROSS MATCH_RECOGNIZE DEFINE MEASURES PATTERN WITHIN PARTITION BY INTO "
    "VALUES INSERT CREATE TABLE WITH DISTINCT CAST ESCAPE SUBSET".split()
)

_UNITS = {
    "MILLISECOND": 1,
    "SECOND": 1_000,
    "MINUTE": 60_000,
    "HOUR": 3_600_000,
    "DAY": 86_400_000,
    "WEEK": 7 * 86_400_000,
}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}

_SIMPLE_TYPES = {
    "STRING": Kind.STRING,
    "BOOLEAN": Kind.BOOLEAN,
    "TINYINT": Kind.TINYINT,
    "SMALLINT": Kind.SMALLINT,
    "INT": Kind.INT,
    "INTEGER": Kind.INT,
    "BIGINT": Kind.BIGINT,
    "FLOAT": Kind.FLOAT,
    "REAL": Kind.FLOAT,
    "DOUBLE": Kind.DOUBLE,
    "DATE": Kind.DATE,
    "BYTES": Kind.BYTES,
}


class TokenReader:
    """A cursor over tokens with errors that tell what was expected."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.place = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The next token, not taken yet."""
        return self.tokens[self.place]

    def ahead(self, distance: int = 1) -> Token:
        """A token further on."""
        return self.tokens[min(self.place + distance, len(self.tokens) - 1)]

    def take(self) -> Token:
        """Take the next token."""
        token = self.token
        if token.kind != "end":
            self.place += 1
        return token

    def span_from(self, start: int) -> Span:
        """From an offset to the end of the last token taken."""
        return Span(start, max(start, self.tokens[self.place - 1].span.end if self.place else start))

    def at(self, *words: str) -> bool:
        """Whether these keywords or signs come next, in this order."""
        for distance, word in enumerate(words):
            token = self.ahead(distance)
            if token.upper != word and not (token.kind == "sign" and token.value == word):
                return False
        return True

    def accept(self, *words: str) -> bool:
        """Take these keywords or signs if they come next."""
        if not self.at(*words):
            return False
        for _ in words:
            self.take()
        return True

    def accept_any(self, words: Iterable[str]) -> str:
        """Take one of these keywords or signs if it comes next; "" if none does."""
        for word in words:
            if self.accept(word):
                return word
        return ""

    def expect(self, *words: str) -> Token:
        """Take these keywords or signs; an error if they do not come."""
        for word in words:
            if not self.at(word):
                raise self.expected(word)
            token = self.take()
        return token

    def expected(self, *what: str, token: Token | None = None) -> SqlSyntaxError:
        """An error at a token: what was expected there, what stands there, and what was perhaps meant."""
        token = token or self.token
        wanted = what[0] if len(what) == 1 else ", ".join(what[:-1]) + " or " + what[-1]
        found = "the end of the text" if token.kind == "end" else repr(self.text[token.span.start : token.span.end])
        near = difflib.get_close_matches(token.upper, [w for w in what if w.isupper()], 1) if token.upper else []
        hint = f"; did you mean {near[0]}?" if near and near[0] != token.upper else ""
        return SqlSyntaxError(f"expected {wanted}, found {found}{hint}", self.text, *token.span)

    def identifier(self, what: str = "a name") -> str:
        """Take an identifier."""
        if self.token.kind == "quoted" or (self.token.kind == "word" and self.token.upper not in RESERVED):
            return self.take().value
        raise self.expected(what)

    def path(self, what: str = "a name") -> tuple[str, ...]:
        """Take a dotted path of identifiers."""
        parts = [self.identifier(what)]
        while self.accept("."):
            parts.append(self.identifier(what))
        return tuple(parts)

    def whole_number(self, what: str = "a whole number") -> int:
        """Take an unsigned whole number."""
        if self.token.kind == "number" and self.token.value.isdigit():
            return int(self.take().value)
        raise self.expected(what)

    def literal_text(self, what: str = "a text in quotes") -> str:
        """Take a text literal."""
        if self.token.kind == "text":
            return self.take().value
        raise self.expected(what)

    def listed(self, item: Callable[[], T]) -> tuple[T, ...]:
        """Items with commas between them."""
        items = [item()]
        while self.accept(","):
            items.append(item())
        return tuple(items)

    def deeper(self) -> None:
        """Enter one level of nesting; the caller leaves it by ``self.depth -= 1``."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise SqlSyntaxError(f"nested more than {MAX_DEPTH} levels deep", self.text, *self.token.span)


class TypeParser(TokenReader):
    """Data types."""

    def data_type(self) -> DataType:
        """Take a data type with an optional NOT NULL."""
        type_ = self._bare_type()
        if self.accept("NOT", "NULL"):
            return type_.with_nullable(False)
        self.accept("NULL")
        return type_

    def _bare_type(self) -> DataType:
        word = self.token.upper
        if word in _SIMPLE_TYPES:
            self.take()
            if word == "DOUBLE":
                self.accept("PRECISION")
            return DataType(_SIMPLE_TYPES[word])
        if word in ("VARCHAR", "CHAR", "VARBINARY", "BINARY"):
            self.take()
            length = self._parameters(1)
            if word in ("VARBINARY", "BINARY"):
                return DataType(Kind.BYTES)
            return DataType(Kind(word), length[0] if length else (1 if word == "CHAR" else None))
        if word in ("DECIMAL", "DEC", "NUMERIC"):
            start = self.take().span.start
            digits = self._parameters(2)
            precision, scale = (digits + [10, 0][len(digits) :])[:2]
            if not 1 <= precision <= 38 or scale > precision:
                problem = "DECIMAL has 1 to 38 digits, and not more behind the point than in all"
                raise SqlSyntaxError(problem, self.text, *self.span_from(start))
            return DataType(Kind.DECIMAL, precision, scale)
        if word in ("TIME", "TIMESTAMP", "TIMESTAMP_LTZ"):
            start = self.take().span.start
            digits = self._parameters(1)
            precision = digits[0] if digits else (0 if word == "TIME" else 6)
            if precision > 9:
                raise SqlSyntaxError("a fraction of a second has at most 9 digits", self.text, *self.span_from(start))
            kind = Kind(word)
            if self.accept("WITH", "LOCAL", "TIME", "ZONE") or self.accept("WITH", "TIME", "ZONE"):
                kind = Kind.TIMESTAMP_LTZ
            else:
                self.accept("WITHOUT", "TIME", "ZONE")
            return DataType(kind, precision)
        if word in ("ARRAY", "MULTISET"):
            self.take()
            return DataType(Kind.ARRAY, element=self._in_angles(lambda: self.data_type()))
        if word == "MAP":
            self.take()
            key, element = self._in_angles(self._key_and_value)
            return DataType(Kind.MAP, key=key, element=element)
        if word == "ROW":
            self.take()
            fields = self._in_angles(lambda: self.listed(lambda: (self.identifier("a field name"), self.data_type())))
            return DataType(Kind.ROW, fields=fields)
        known = [*_SIMPLE_TYPES, "VARCHAR", "CHAR", "DECIMAL", "TIMESTAMP", "TIMESTAMP_LTZ", "ARRAY", "MAP", "ROW"]
        near = difflib.get_close_matches(word, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        found = "the end of the text" if self.token.kind == "end" else repr(self.token.value)
        raise SqlSyntaxError(f"expected a data type, found {found}{hint}", self.text, *self.token.span)

    def _parameters(self, most: int) -> list[int]:
        if not self.accept("("):
            return []
        numbers = [self.whole_number()]
        while len(numbers) < most and self.accept(","):
            numbers.append(self.whole_number())
        self.expect(")")
        return numbers

    def _key_and_value(self) -> tuple[DataType, DataType]:
        key = self.data_type()
        self.expect(",")
        return key, self.data_type()

    def _in_angles(self, inner: Callable[[], T]) -> T:
        bracket = self.accept_any(("<", "("))
        if not bracket:
            raise self.expected("<")
        self.deeper()
        result = inner()
        self.depth -= 1
        self.expect(">" if bracket == "<" else ")")
        return result


class ExpressionParser(TypeParser):
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
        node = self._sum()
        while True:
            start = node.span.start
            op = self.accept_any(("=", "<>", "!=", "<=", ">=", "<", ">"))
            if op:
                node = self._binary("<>" if op == "!=" else op, node, self._sum())
                continue
            if self.accept("IS"):
                negated = self.accept("NOT")
                if self.accept("DISTINCT", "FROM"):
                    op = "IS NOT DISTINCT FROM" if negated else "IS DISTINCT FROM"
                    node = self._binary(op, node, self._sum())
                    continue
                what = self.accept_any(("NULL", "TRUE", "FALSE", "UNKNOWN"))
                if not what:
                    raise self.expected("NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT FROM")
                node = n.Is(self.span_from(start), node, "NULL" if what == "UNKNOWN" else what, negated)
                continue
            negated = self.at("NOT") and self.ahead().upper in ("BETWEEN", "IN", "LIKE", "SIMILAR")
            if negated:
                self.take()
            if self.accept("BETWEEN"):
                symmetric = self.accept("SYMMETRIC")
                if not symmetric:
                    self.accept("ASYMMETRIC")
                low = self._sum()
                self.expect("AND")
                high = self._sum()
                place, operand = self.span_from(start), node
                node = n.Between(place, operand, low, high, negated)
                if symmetric:
                    node = n.Binary(
                        place, "AND" if negated else "OR", node, n.Between(place, operand, high, low, negated)
                    )
            elif self.accept("IN"):
                self.expect("(")
                if self.at_query():
                    query = self.subquery()
                    self.expect(")")
                    node = n.InQuery(self.span_from(start), node, query, negated)
                    continue
                items = self.listed(self.expression)
                self.expect(")")
                node = n.InList(self.span_from(start), node, items, negated)
            elif self.at("LIKE") or self.at("SIMILAR"):
                similar = self.take().upper == "SIMILAR"
                if similar:
                    self.expect("TO")
                pattern = self._sum()
                escape = self._sum() if self.accept("ESCAPE") else None
                node = n.Like(self.span_from(start), node, pattern, escape, negated, similar)
            else:
                return node

    def _sum(self) -> n.Node:
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
        if token.kind == "number":
            self.take()
            return self._number(token)
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
        if word == "EXISTS" and self.ahead().value == "(":
            self.take()
            self.expect("(")
            query = self.subquery()
            self.expect(")")
            return n.Exists(self.span_from(start), query)
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
        if word == "MAP" and self.ahead().value == "[":
            return self._map(start)
        if word in ("RUNNING", "FINAL") and self.ahead().kind == "word" and self.ahead(2).value == "(":
            self.take()
            return self._call(start, word)
        if self.ahead().value == "(" and self.ahead().kind == "sign" and word not in RESERVED:
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

    def _number(self, token: Token) -> n.Literal:
        value = token.value
        if value.isdigit():
            number = int(value)
            if number >= 1 << 63:
                raise SqlSyntaxError("the number does not fit a BIGINT", self.text, *token.span)
            return n.Literal(token.span, number, (INT if number < 1 << 31 else BIGINT).with_nullable(False))
        if "e" in value.lower():
            return n.Literal(token.span, float(value), DOUBLE.with_nullable(False))
        decimal = Decimal(value)
        _, digits, exponent = decimal.as_tuple()
        scale = -int(exponent)
        return n.Literal(token.span, decimal, DataType(Kind.DECIMAL, max(len(digits), scale, 1), scale, nullable=False))

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

    def _temporal(self, word: str) -> n.Literal:
        start = self.take().span.start
        token = self.take()
        try:
            if word == "DATE":
                days = (datetime.date.fromisoformat(token.value) - datetime.date(1970, 1, 1)).days
                return n.Literal(self.span_from(start), days, DataType(Kind.DATE, nullable=False))
            if word == "TIME":
                time = datetime.time.fromisoformat(token.value)
                millis = ((time.hour * 60 + time.minute) * 60 + time.second) * 1000 + time.microsecond // 1000
                return n.Literal(self.span_from(start), millis, DataType(Kind.TIME, 0, nullable=False))
            when = datetime.datetime.fromisoformat(token.value)
            micros = (when - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)  # noqa: DTZ001 (no zone)
        except (ValueError, TypeError):
            raise SqlSyntaxError(f"{token.value!r} is not a {word}", self.text, *token.span) from None
        fraction = len(token.value.partition(".")[2])
        value = micros if fraction > 3 else micros // 1000
        return n.Literal(self.span_from(start), value, DataType(Kind.TIMESTAMP, min(fraction, 6), nullable=False))

    def interval(self) -> n.Literal:
        """Take ``INTERVAL '10' SECOND`` (or with a fraction, or ``DAY TO SECOND`` and the like)."""
        start = self.expect("INTERVAL").span.start
        sign = -1 if self.accept("-") else 1
        if self.token.kind not in ("text", "number"):
            raise self.expected("a number in quotes, as in INTERVAL '10' SECOND")
        token = self.take()
        unit = self._unit()
        until = self._unit() if self.accept("TO") else ""
        if until:
            millis = _compound_interval(token.value, unit, until)
        elif unit in _MONTHS:
            months = _parse_decimal(token.value)
            if months is None or months != int(months):
                raise SqlSyntaxError(f"{token.value!r} is not a whole number of {unit}s", self.text, *token.span)
            value = sign * int(months) * _MONTHS[unit]
            return n.Literal(self.span_from(start), value, DataType(Kind.INTERVAL_YEAR, nullable=False))
        else:
            amount = _parse_decimal(token.value)
            millis = None if amount is None else int(amount * _UNITS[unit])
        if millis is None:
            raise SqlSyntaxError(f"{token.value!r} is not an interval of {unit}", self.text, *token.span)
        return n.Literal(self.span_from(start), sign * millis, DataType(Kind.INTERVAL_DAY, nullable=False))

    def _unit(self) -> str:
        word = self.token.upper
        unit = word[:-1] if word.endswith("S") else word
        if unit not in _UNITS and unit not in _MONTHS:
            raise self.expected("SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR")
        self.take()
        if self.accept("("):
            self.whole_number()
            if self.accept(","):
                self.whole_number()
            self.expect(")")
        return unit

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

    def _map(self, start: int) -> n.Call:
        self.take()
        self.expect("[")
        members = self.listed(self.expression)
        self.expect("]")
        return n.Call(self.span_from(start), "MAP", members)

    def _call(self, start: int, semantics: str) -> n.Node:
        name = self.take().upper
        self.expect("(")
        words: tuple[str, ...] = ()
        args: list[n.Node] = []
        distinct = False
        if name == "EXTRACT":
            words = (self.take().upper,)
            self.expect("FROM")
            args.append(self.expression())
        elif name in ("TIMESTAMPDIFF", "TIMESTAMPADD"):
            words = (self.take().upper,)
            self.expect(",")
            args += self.listed(self.expression)
        elif name == "TRIM":
            words = (self.accept_any(("LEADING", "TRAILING", "BOTH")),)
            if not self.at("FROM"):
                args.append(self.expression())
            if self.accept("FROM"):
                args.insert(0, self.expression())
        elif name == "JSON_OBJECT":
            args += self._json_members()
        elif not self.at(")"):
            distinct = self.accept("DISTINCT")
            if not distinct:
                self.accept("ALL")
            args.append(self._sum() if name == "POSITION" else self.expression())
            if name == "POSITION" and self.accept("IN"):
                args.append(self.expression())
            elif name in ("SUBSTRING", "OVERLAY") and self.accept("FROM"):
                args.append(self.expression())
                if self.accept("FOR"):
                    args.append(self.expression())
            elif name in ("FLOOR", "CEIL", "CEILING") and self.accept("TO"):
                words = (self.take().upper,)
            while self.accept(","):
                args.append(self.expression())
            if name in ("JSON_VALUE", "JSON_QUERY", "JSON_EXISTS") and not self.at(")"):
                words = self._json_behaviour()
        self.expect(")")
        condition = None
        if self.accept("FILTER"):
            self.expect("(", "WHERE")
            condition = self.expression()
            self.expect(")")
        over = self._over() if self.accept("OVER") else None
        return n.Call(self.span_from(start), name, tuple(args), distinct, semantics, words, condition, over)

    def _json_members(self) -> list[n.Node]:
        args: list[n.Node] = []
        while not self.at(")"):
            self.accept("KEY")
            args.append(self.expression())
            if not (self.accept("VALUE") or self.accept(":")):
                raise self.expected("VALUE")
            args.append(self.expression())
            if self.accept_any(("NULL", "ABSENT")):
                self.expect("ON", "NULL")
            if not self.accept(","):
                break
        return args

    def _json_behaviour(self) -> tuple[str, ...]:
        words = []
        while not self.at(")"):
            if self.token.kind == "end":
                raise self.expected(")")
            words.append(self.take().value.upper())
        return tuple(words)

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


def _parse_decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _compound_interval(text: str, unit: str, until: str) -> int | None:
    """``'1 02:03:04.5' DAY TO SECOND`` in milliseconds."""
    order = ["DAY", "HOUR", "MINUTE", "SECOND"]
    if unit not in order or until not in order or order.index(until) <= order.index(unit):
        return None
    parts = text.strip().replace(" ", ":").split(":")
    units = order[order.index(unit) : order.index(until) + 1]
    numbers = [_parse_decimal(part) for part in parts]
    if len(parts) != len(units) or any(number is None for number in numbers):
        return None
    return sum(int(number * _UNITS[name]) for number, name in zip(numbers, units, strict=True) if number is not None)


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


def parse_type(text: str) -> DataType:
    """Parse a text that is one data type.

    Example:
        >>> print(parse_type("timestamp(3) not null"))
        TIMESTAMP(3) NOT NULL
    """
    parser = ExpressionParser(text)
    type_ = parser.data_type()
    if parser.token.kind != "end":
        raise parser.expected("the end of the type")
    return type_
