"""Recursive descent over tokens: data types."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TypeVar

from anomaly_app.errors import SqlSyntaxError
from anomaly_app.expressions.reader import TokenReader
from anomaly_app.schema import DataType, Kind
from anomaly_app.times.calendar import DAY_MS

T = TypeVar("T")

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


_UNBOUNDED = (1 << 31) - 1
"""Length of a STRING or BYTES, as Java has it."""

INTERVAL_MILLIS = {
    "MILLISECOND": 1,
    "SECOND": 1_000,
    "MINUTE": 60_000,
    "HOUR": 3_600_000,
    "DAY": DAY_MS,
    "WEEK": 7 * DAY_MS,
}
INTERVAL_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
"""Units of intervals, in memory form."""


class TypeParser(TokenReader):
    """Data types."""

    wide_decimals = False
    """Whether more digits than 38 are taken for 38, as in a CAST."""

    def data_type(self) -> DataType:
        """Take a data type with an optional NOT NULL."""
        type_ = self._bare_type()
        if self.accept("NOT", "NULL"):
            return type_.with_nullable(False)
        if not self.at("NULL", "ON"):  # as in RETURNING INT NULL ON EMPTY
            self.accept("NULL")
        return type_

    def _bare_type(self) -> DataType:
        word = self.token.upper
        if word in _SIMPLE_TYPES:
            self.take()
            if word == "DOUBLE":
                self.accept("PRECISION")
            return DataType(_SIMPLE_TYPES[word])
        if word in ("VARCHAR", "CHAR", "CHARACTER", "VARBINARY", "BINARY"):
            return self._with_length()
        if word in ("DECIMAL", "DEC", "NUMERIC"):
            start = self.take().span.start
            digits = self._parameters(2)
            precision, scale = (digits + [10, 0][len(digits) :])[:2]
            precision = min(precision, 38) if self.wide_decimals else precision
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
            if kind is Kind.TIME:
                self.accept("WITHOUT", "TIME", "ZONE")
                return DataType(kind, min(precision, 3))  # as in Flink, whose TIME has milliseconds at most
            if self.accept("WITH", "LOCAL", "TIME", "ZONE") or self.accept("WITH", "TIME", "ZONE"):
                kind = Kind.TIMESTAMP_LTZ
            else:
                self.accept("WITHOUT", "TIME", "ZONE")
            return DataType(kind, precision)
        if word == "INTERVAL":
            self.take()
            unit = self.interval_unit()
            if self.accept("TO"):
                self.interval_unit()
            return DataType(Kind.INTERVAL_YEAR if unit in INTERVAL_MONTHS else Kind.INTERVAL_DAY)
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
        others = "VARCHAR CHAR VARBINARY BINARY DECIMAL TIME TIMESTAMP TIMESTAMP_LTZ INTERVAL ARRAY MAP ROW"
        known = [*_SIMPLE_TYPES, *others.split()]
        near = difflib.get_close_matches(word, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        found = "the end of the text" if self.token.kind == "end" else repr(self.token.value)
        raise SqlSyntaxError(f"expected a data type, found {found}{hint}", self.text, *self.token.span)

    def _with_length(self) -> DataType:
        word = self.take().upper
        varying = word.startswith("VAR") or self.accept("VARYING")
        given = self._parameters(1)
        length = given[0] if given else None if varying else 1
        if varying and length == _UNBOUNDED:
            length = None
        if word.endswith("BINARY"):
            return DataType(Kind.BYTES, length, fixed=not varying)
        if varying:
            return DataType(Kind.STRING) if length is None else DataType(Kind.VARCHAR, length)
        return DataType(Kind.CHAR, length)

    def unit_ahead(self, distance: int = 0) -> bool:
        """Whether a unit of an interval stands some tokens ahead."""
        word = self.ahead(distance).upper.removesuffix("S")
        return word in INTERVAL_MILLIS or word in INTERVAL_MONTHS

    def interval_unit(self) -> str:
        """Take a unit of an interval, with its digits if they are given; in the singular."""
        return self.unit_and_digits()[0]

    def unit_and_digits(self) -> tuple[str, int]:
        """Take a unit of an interval; in the singular, and how many digits its number may have."""
        if not self.unit_ahead():
            raise self.expected("SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR")
        unit = self.take().upper.removesuffix("S")
        digits = self._parameters(2)
        return unit, digits[0] if digits else 9 if unit == "MILLISECOND" else 2

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


def parse_type(text: str) -> DataType:
    """Parse a text that is one data type.

    Example:
        >>> print(parse_type("timestamp(3) not null"))
        TIMESTAMP(3) NOT NULL
    """
    parser = TypeParser(text)
    type_ = parser.data_type()
    if parser.token.kind != "end":
        raise parser.expected("the end of the type")
    return type_
