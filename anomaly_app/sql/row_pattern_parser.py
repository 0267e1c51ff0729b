"""Recursive descent for the MATCH_RECOGNIZE clause."""

from __future__ import annotations

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions.nodes import Node
from anomaly_app.expressions.parser import ExpressionParser
from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import Kind
from anomaly_app.sql.row_pattern import (
    Absence,
    Alternation,
    Anchor,
    Concat,
    Definition,
    Exclusion,
    MatchRecognize,
    Measure,
    OrderItem,
    PatternNode,
    Permute,
    Quantified,
    RowsPerMatch,
    Skip,
    SkipTo,
    Subset,
    Variable,
)

MAX_REPEAT = 100_000
"""Largest number in a quantifier: beyond it is a mistake."""


class RowPatternParser(ExpressionParser):
    """Adds the row pattern clause to expressions."""

    def match_recognize(self) -> MatchRecognize:
        """Take ``MATCH_RECOGNIZE ( … )``."""
        start = self.expect("MATCH_RECOGNIZE").span.start
        self.expect("(")
        partition: tuple[Node, ...] = ()
        order: tuple[OrderItem, ...] = ()
        measures: tuple[Measure, ...] = ()
        if self.accept("PARTITION"):
            self.expect("BY")
            partition = self.listed(self.expression)
        if self.accept("ORDER"):
            self.expect("BY")
            order = self.listed(self._order_item)
        if self.accept("MEASURES"):
            measures = self.listed(self._measure)
        rows = self._rows_per_match()
        timeouts = self._timeouts() if rows is not None else None
        skip = self._skip()
        if self.at("SEEK"):
            problem = "SEEK is not supported: a stream gives matches as they come, which is INITIAL"
            raise SqlValidationError(problem, self.text, *self.token.span)
        self.accept("INITIAL")
        if not self.at("PATTERN"):
            raise self.expected(*self._next_clauses(partition, order, measures, rows, skip))
        self.take()
        self.expect("(")
        pattern = self._pattern()
        self.expect(")")
        within, within_span = None, self.token.span
        if self.at("WITHIN"):
            within, within_span = self._within()
        subsets: tuple[Subset, ...] = ()
        if self.accept("SUBSET"):
            subsets = self.listed(self._subset)
        define: tuple[Definition, ...] = ()
        if self.accept("DEFINE"):
            define = self.listed(self._definition)
        if not self.at(")"):
            options = [")", "DEFINE"] if not define else [")", ","]
            raise self.expected(*options, *(() if subsets or define else ("SUBSET", "WITHIN")))
        self.expect(")")
        span = self.span_from(start)
        return MatchRecognize(
            span, partition, order, measures, rows, skip, pattern, within, within_span, subsets, define, None, timeouts
        )

    @staticmethod
    def _next_clauses(*given: object) -> list[str]:
        names = ["PARTITION BY", "ORDER BY", "MEASURES", "ONE ROW PER MATCH", "AFTER MATCH"]
        last = max((number for number, clause in enumerate(given) if clause), default=-1)
        return [*names[last + 1 :], "PATTERN"]

    def _order_item(self) -> OrderItem:
        expr = self.expression()
        descending = self.accept_any(("ASC", "DESC")) == "DESC"
        nulls_first: bool | None = None
        if self.accept("NULLS"):
            word = self.accept_any(("FIRST", "LAST"))
            if not word:
                raise self.expected("FIRST", "LAST")
            nulls_first = word == "FIRST"
        return OrderItem(expr, descending, nulls_first)

    def _measure(self) -> Measure:
        start = self.token.span.start
        expr = self.expression()
        self.expect("AS")
        return Measure(expr, self.identifier("a name for the measure"), self.span_from(start))

    def _rows_per_match(self) -> RowsPerMatch | None:
        if self.accept("ONE"):
            self.expect("ROW", "PER", "MATCH")
            return RowsPerMatch.ONE
        if not self.accept("ALL"):
            return None
        self.expect("ROWS", "PER", "MATCH")
        if self.accept("OMIT"):
            self.expect("EMPTY", "MATCHES")
            return RowsPerMatch.ALL_OMIT_EMPTY
        if self.accept("WITH"):
            self.expect("UNMATCHED", "ROWS")
            return RowsPerMatch.ALL_UNMATCHED
        if self.at("SHOW", "EMPTY"):
            self.expect("SHOW", "EMPTY", "MATCHES")
        return RowsPerMatch.ALL_SHOW_EMPTY

    def _timeouts(self) -> Span | None:
        start = self.token.span.start
        if not self.accept("SHOW"):
            return None
        if not self.at("TIMEOUT"):
            raise self.expected("TIMEOUT MATCHES")
        self.expect("TIMEOUT", "MATCHES")
        return self.span_from(start)

    def _skip(self) -> Skip | None:
        start = self.token.span.start
        if not self.accept("AFTER"):
            return None
        self.expect("MATCH")
        if self.accept("NO"):
            self.expect("SKIP")
            return Skip(SkipTo.NO_SKIP, "", self.span_from(start))
        self.expect("SKIP")
        if self.accept("PAST"):
            self.expect("LAST", "ROW")
            return Skip(SkipTo.PAST_LAST_ROW, "", self.span_from(start))
        if not self.accept("TO"):
            raise self.expected("PAST LAST ROW", "TO NEXT ROW", "TO FIRST", "TO LAST")
        if self.at("NEXT", "ROW"):
            self.expect("NEXT", "ROW")
            return Skip(SkipTo.NEXT_ROW, "", self.span_from(start))
        to = SkipTo.LAST  # TO v is TO LAST v
        if self.at("FIRST") or self.at("LAST"):
            if self.ahead().kind in ("word", "quoted") and self.ahead().upper not in ("PATTERN", "INITIAL", "SEEK"):
                to = SkipTo(f"TO {self.take().upper}")
        return Skip(to, self.identifier("a pattern variable"), self.span_from(start))

    def _within(self) -> tuple[int, Span]:
        start = self.expect("WITHIN").span.start
        if not self.at("INTERVAL"):
            raise self.expected("INTERVAL")
        interval = self.interval()
        if interval.type.kind is Kind.INTERVAL_YEAR:
            problem = "WITHIN takes days, hours, minutes or seconds: a month has no fixed length"
            raise SqlSyntaxError(problem, self.text, *interval.span)
        return interval.value, self.span_from(start)

    def _subset(self) -> Subset:
        start = self.token.span.start
        name = self.identifier("a name for the subset")
        self.expect("=", "(")
        members = self.listed(lambda: self.identifier("a pattern variable"))
        self.expect(")")
        return Subset(name, members, self.span_from(start))

    def _definition(self) -> Definition:
        start = self.token.span.start
        name = self.identifier("a pattern variable")
        self.expect("AS")
        return Definition(name, self.expression(), self.span_from(start))

    # --- PATTERN ( … ) --------------------------------------------------------------------------

    def _pattern(self) -> PatternNode:
        self.deeper()
        start = self.token.span.start
        parts = [self._sequence()]
        while self.accept("|"):
            parts.append(self._sequence())
        if len(parts) > 1:
            for part in parts:
                if isinstance(part, Concat) and not part.parts and part.span.start == part.span.end:
                    problem = "an alternative is empty: write () for the empty pattern"
                    raise SqlSyntaxError(problem, self.text, part.span.start)
        self.depth -= 1
        return parts[0] if len(parts) == 1 else Alternation(self.span_from(start), tuple(parts))

    def _sequence(self) -> PatternNode:
        start = self.token.span.start
        parts: list[PatternNode] = []
        while self.token.kind != "end" and not any(self.at(sign) for sign in (")", "|", "-}", ",")):
            parts.append(self._factor())
        if len(parts) == 1:
            return parts[0]
        return Concat(self.span_from(start) if parts else Span(start, start), tuple(parts))

    def _factor(self) -> PatternNode:
        start = self.token.span.start
        body = self._pattern_primary()
        node = self._quantifier(body, start)
        if node is not body and (self.token.value in ("*", "+", "?") or self.at("{")) and self.token.kind == "sign":
            problem = "two quantifiers in a row: put the inner one in parentheses"
            raise SqlSyntaxError(problem, self.text, *self.token.span)
        if node is not body and isinstance(body, Absence):
            raise SqlSyntaxError("NOT takes a pattern variable without a quantifier", self.text, *node.span)
        if isinstance(node, Quantified) and self.at("UNTIL") and self.ahead().value == "(":
            shown = self.text[slice(*node.body.span)]
            problem = f"UNTIL is not supported: its negation in the condition of {shown} does the same"
            raise SqlValidationError(problem, self.text, *self.token.span)
        return node

    def _pattern_primary(self) -> PatternNode:
        start = self.token.span.start
        if self.accept("("):
            if self.accept(")"):
                return Concat(self.span_from(start), ())
            node = self._pattern()
            self.expect(")")
            return node
        if self.accept("{-"):
            node = self._pattern()
            self.expect("-}")
            return Exclusion(self.span_from(start), node)
        if self.at("PERMUTE") and self.ahead().value == "(":
            self.expect("PERMUTE", "(")
            parts = self.listed(self._pattern)
            self.expect(")")
            return Permute(self.span_from(start), parts)
        if self.accept("NOT"):
            place = self.token.span
            variable = self.identifier("the pattern variable that must not follow")
            return Absence(self.span_from(start), Variable(place, variable))
        if self.accept("^"):
            return Anchor(self.span_from(start), True)
        if self.accept("$"):
            return Anchor(self.span_from(start), False)
        if self.token.kind == "quoted" or (self.token.kind == "word" and self.token.upper not in ("WITHIN", "DEFINE")):
            token = self.take()
            return Variable(token.span, token.value)
        raise self.expected("a pattern variable", "(", "PERMUTE", "{-", ")")

    def _quantifier(self, body: PatternNode, start: int) -> PatternNode:
        place = self.token.span.start
        minimum: int
        maximum: int | None
        if self.accept("*"):
            minimum, maximum = 0, None
        elif self.accept("+"):
            minimum, maximum = 1, None
        elif self.accept("?"):
            minimum, maximum = 0, 1
        elif self.accept("{"):
            minimum, maximum = self._bounds(place)
        else:
            return body
        reluctant = self.accept("?")
        text = self.text[place : self.tokens[self.place - 1].span.end]
        return Quantified(self.span_from(start), body, minimum, maximum, reluctant, text)

    def _bounds(self, place: int) -> tuple[int, int | None]:
        minimum: int = 0
        maximum: int | None
        if self.accept(","):
            maximum = self.whole_number("the largest number of repetitions")
        else:
            minimum = self.whole_number("a number of repetitions")
            if self.accept(","):
                maximum = None if self.at("}") else self.whole_number("the largest number of repetitions")
            else:
                maximum = minimum
        self.expect("}")
        problem = ""
        if maximum is not None and maximum < minimum:
            problem = f"the largest number of repetitions, {maximum}, is below the smallest, {minimum}"
        elif maximum == 0:
            problem = "a pattern repeated zero times matches nothing: leave it out"
        elif max(minimum, maximum or 0) > MAX_REPEAT:
            problem = f"more than {MAX_REPEAT} repetitions"
        if problem:
            raise SqlSyntaxError(problem, self.text, *self.span_from(place))
        return minimum, maximum


def parse_pattern(text: str) -> PatternNode:
    """Parse a text that is one pattern, without the parentheses of ``PATTERN ( … )``.

    Example:
        >>> parse_pattern("A B*?").parts[1].reluctant
        True
    """
    parser = RowPatternParser(text)
    node = parser._pattern()
    if parser.token.kind != "end":
        raise parser.expected("the end of the pattern")
    return node
