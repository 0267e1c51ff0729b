"""Recursive descent over tokens: literals."""

from __future__ import annotations

import re
from decimal import Decimal

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span, Token
from anomaly_app.expressions.type_parser import INTERVAL_MILLIS, INTERVAL_MONTHS, TypeParser
from anomaly_app.schema import BIGINT, DOUBLE, INT, DataType, Kind
from anomaly_app.times.calendar import days_of
from anomaly_app.times.texts import from_fields

_LEADING = re.compile(r"\s*[+-]?\s*0*(\d+)", re.ASCII)
_CLOCK = r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?"
_TEMPORAL = {
    "DATE": (re.compile(r"(\d{1,4})-(\d{1,2})-(\d{1,2})", re.ASCII), "2024-02-29"),
    "TIME": (re.compile(_CLOCK, re.ASCII), "12:34:56.789"),
    "TIMESTAMP": (
        re.compile(rf"(\d{{1,4}})-(\d{{1,2}})-(\d{{1,2}})(?: {_CLOCK})?", re.ASCII),
        "2024-02-29 12:34:56.789",
    ),
}


class LiteralParser(TypeParser):
    """Numbers, dates and times, intervals."""

    def number(self, token: Token, span: Span, *, negative: bool = False) -> n.Literal:
        """The literal of a number token; as many digits as are written make the type of a decimal."""
        written, sign = token.value, -1 if negative else 1
        if "e" in written.lower():
            return n.Literal(span, sign * float(written), DOUBLE.with_nullable(False))
        digits = written.removesuffix(".")
        if digits.isdigit():
            number = sign * int(digits)
            if not -(1 << 63) <= number < 1 << 63:
                raise SqlSyntaxError("the number does not fit a BIGINT: CAST a text to DECIMAL", self.text, *span)
            small = -(1 << 31) <= number < 1 << 31
            return n.Literal(span, number, (INT if small else BIGINT).with_nullable(False))
        precision, scale = len(written) - 1, len(written.partition(".")[2])
        if precision > 38:
            raise SqlSyntaxError("a DECIMAL has 38 digits at most", self.text, *span)
        decimal = Decimal(written)
        value = decimal if not negative or not decimal else decimal.copy_negate()
        return n.Literal(span, value, DataType(Kind.DECIMAL, precision, scale, nullable=False))

    def bytes_literal(self) -> n.Literal:
        """Take ``x'0AFF'``."""
        token = self.take()
        if len(token.value) % 2:
            problem = "bytes are written with two hexadecimal digits each, as in x'0AFF'"
            raise SqlSyntaxError(problem, self.text, *token.span)
        value = bytes.fromhex(token.value)
        return n.Literal(token.span, value, DataType(Kind.BYTES, len(value), nullable=False, fixed=True))

    def _temporal(self, word: str, start: int) -> n.Literal:
        token = self.take()
        pattern, example = _TEMPORAL[word]
        found = pattern.fullmatch(token.value)
        parts = [int(part) for part in found.groups("0")] if found else []
        digits = len(found[found.re.groups] or "") if found and word != "DATE" else 0
        days, nanos = 0, 0
        try:
            if word != "TIME":
                days = days_of(*parts[:3])
            if word != "DATE":
                hour, minute, second = parts[-4:-1]
                if hour > 23 or minute > 59 or second > 59:
                    raise ValueError
                nanos = ((hour * 60 + minute) * 60 + second) * 1_000_000_000 + parts[-1] * 10 ** (9 - digits)
        except (TypeError, ValueError):
            problem = f"{token.value!r} is not a {word} such as '{example}'"
            raise SqlSyntaxError(problem, self.text, *token.span) from None
        if word == "DATE":
            value, type_ = days, DataType(Kind.DATE, nullable=False)
        elif word == "TIME":
            value, type_ = nanos // 1_000_000, DataType(Kind.TIME, min(digits, 3), nullable=False)
        else:
            value, type_ = from_fields(days, nanos, digits), DataType(Kind.TIMESTAMP, digits, nullable=False)
        return n.Literal(self.span_from(start), value, type_)

    def _escaped_temporal(self) -> n.Literal:
        """``{d '…'}``, ``{t '…'}`` and ``{ts '…'}`` of JDBC."""
        start = self.expect("{").span.start
        word = self.accept_any(("D", "TS", "T"))
        if not word or self.token.kind != "text":
            raise self.expected("d '2024-02-29'", "t '12:34:56'", "ts '2024-02-29 12:34:56'")
        literal = self._temporal({"D": "DATE", "T": "TIME", "TS": "TIMESTAMP"}[word], start)
        self.expect("}")
        return n.Literal(self.span_from(start), literal.value, literal.type)

    def interval(self) -> n.Literal:
        """Take ``INTERVAL '10' SECOND`` (or with a fraction, or ``DAY TO SECOND`` and the like)."""
        start = self.expect("INTERVAL").span.start
        sign = -1 if self.accept("-") else 1
        if self.token.kind not in ("text", "number"):
            raise self.expected("a number in quotes, as in INTERVAL '10' SECOND")
        token = self.take()
        unit, digits = self.unit_and_digits()
        until = self.interval_unit() if self.accept("TO") else ""
        leading = _LEADING.match(token.value)
        if leading is not None and len(leading[1]) > digits:
            problem = f"an interval of {unit} has {digits} digits at most: write {unit}({len(leading[1])}) for more"
            raise SqlValidationError(problem, self.text, *token.span)
        type_ = DataType(Kind.INTERVAL_YEAR if unit in INTERVAL_MONTHS else Kind.INTERVAL_DAY, nullable=False)
        value = _compound_interval(token.value, unit, until) if until else _simple_interval(token.value, unit)
        if value is None:
            to = f" TO {until}" if until else ""
            example = _EXAMPLES.get((unit, until), "10" if unit != "SECOND" else "1.5")
            problem = f"{token.value!r} is not an interval of {unit}{to} such as INTERVAL '{example}' {unit}{to}"
            raise SqlSyntaxError(problem, self.text, *token.span)
        return n.Literal(self.span_from(start), sign * value, type_)

    def interval_of_ahead(self) -> bool:
        """Whether an expression and a unit follow the word INTERVAL, rather than it being a name."""
        if self.ahead().value == "(":
            return True
        last = 3 if self.ahead(2).value == "." else 1
        return self.ahead(last).kind in ("word", "quoted") and self.unit_ahead(last + 1)

    def interval_type(self, unit: str) -> tuple[DataType, int]:
        """The type of intervals of a unit, and one of it in memory form."""
        kind = Kind.INTERVAL_YEAR if unit in INTERVAL_MONTHS else Kind.INTERVAL_DAY
        return DataType(kind, nullable=False), INTERVAL_MONTHS.get(unit) or INTERVAL_MILLIS[unit]


def _parse_decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _simple_interval(text: str, unit: str) -> int | None:
    amount = _parse_decimal(text)
    if amount is None or (unit in INTERVAL_MONTHS and amount != int(amount)):
        return None
    return int(amount * (INTERVAL_MONTHS.get(unit) or INTERVAL_MILLIS[unit]))


_ORDER = ("DAY", "HOUR", "MINUTE", "SECOND")
_EXAMPLES = {
    ("YEAR", "MONTH"): "1-2", ("DAY", "HOUR"): "1 02", ("DAY", "MINUTE"): "1 02:03", ("DAY", "SECOND"): "1 02:03:04.5",
    ("HOUR", "MINUTE"): "1:02", ("HOUR", "SECOND"): "1:02:03.5", ("MINUTE", "SECOND"): "1:02.5",
}  # fmt: skip


def _compound_interval(text: str, unit: str, until: str) -> int | None:
    """``'1 02:03:04.5' DAY TO SECOND`` in milliseconds, ``'1-2' YEAR TO MONTH`` in months; None if it is not one."""
    if (unit, until) not in _EXAMPLES:
        return None
    found = re.fullmatch(r"([+-]?)(.*)", text.strip())
    sign, body = (-1 if found and found[1] == "-" else 1), found[2] if found else ""
    if unit == "YEAR":
        years, dash, months = body.partition("-")
        if not (dash and _digits(years) and _digits(months) and int(months) < 12):
            return None
        return sign * (int(years) * 12 + int(months))
    units = _ORDER[_ORDER.index(unit) : _ORDER.index(until) + 1]
    days, _, clock = body.partition(" ") if unit == "DAY" else ("", "", body)
    parts = [*([days] if unit == "DAY" else []), *clock.split(":")]
    whole, point, fraction = parts[-1].partition(".")
    if point and until != "SECOND":
        return None
    parts[-1] = whole
    if len(parts) != len(units) or not all(map(_digits, parts)) or (point and not _digits(fraction)):
        return None
    if any(int(part) >= (24 if name == "HOUR" else 60) for part, name in zip(parts[1:], units[1:], strict=True)):
        return None
    millis = sum(int(part) * INTERVAL_MILLIS[name] for part, name in zip(parts, units, strict=True))
    return sign * (millis + int(fraction.ljust(3, "0")[:3] or "0"))


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
