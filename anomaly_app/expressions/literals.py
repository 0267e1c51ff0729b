"""Recursive descent over tokens: literals."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Token
from anomaly_app.expressions.type_parser import TypeParser
from anomaly_app.schema import BIGINT, DOUBLE, INT, DataType, Kind

_UNITS = {
    "MILLISECOND": 1,
    "SECOND": 1_000,
    "MINUTE": 60_000,
    "HOUR": 3_600_000,
    "DAY": 86_400_000,
    "WEEK": 7 * 86_400_000,
}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


class LiteralParser(TypeParser):
    """Numbers, dates and times, intervals."""

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
        unit, digits = self._unit()
        until, _ = self._unit() if self.accept("TO") else ("", 0)
        leading = _LEADING.match(token.value)
        if leading is not None and len(leading[1]) > digits:
            problem = f"an interval of {unit} has {digits} digits at most: write {unit}({len(leading[1])}) for more"
            raise SqlValidationError(problem, self.text, *token.span)
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

    def _unit(self) -> tuple[str, int]:
        """A unit, and how many digits its number may have: two, if nothing else is said."""
        word = self.token.upper
        unit = word[:-1] if word.endswith("S") else word
        if unit not in _UNITS and unit not in _MONTHS:
            raise self.expected("SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR")
        self.take()
        digits = 9 if unit == "MILLISECOND" else 2
        if self.accept("("):
            digits = self.whole_number()
            if self.accept(","):
                self.whole_number()
            self.expect(")")
        return unit, digits


_LEADING = re.compile(r"\s*[-+]?0*(\d+)")
"""The digits of the first number of an interval that count."""


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
