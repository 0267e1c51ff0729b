"""PRINTF: texts made after a pattern, as ``java.util.Formatter`` makes them for Flink SQL (2.1 and later).

Numbers behind the point are rounded half up, from the shortest digits that name the double: 1.005 to two places is
1.01, where C and Python, which round the binary value, give 1.00. What Java refuses gives NULL: a pattern that is none,
and a value that does not fit its specifier.
"""

from __future__ import annotations

import decimal
import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from anomaly_app.conversions import decimal_to_text
from anomaly_app.errors import EvaluationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.text_values import characters, units
from anomaly_app.expressions.typed import Code
from anomaly_app.floats import float_to_text
from anomaly_app.schema import APPROXIMATE, STRING, TEXTS, WHOLE_NUMBERS, Kind

_SPECIFIER = re.compile(r"%(?:(\d+)\$|(<))?([-#+ 0,(]*)([1-9]\d*)?(?:\.(\d+))?([tT]?[a-zA-Z%])")
_ROOM = decimal.Context(prec=1_200, rounding=decimal.ROUND_HALF_UP, Emin=-999_999, Emax=999_999)
"""For every double, and more digits behind its point than anybody asks for."""
_FLAGS = {"s": "-", "b": "-", "c": "-", "d": "-+ 0,(", "x": "-#0", "o": "-#0", "f": "-#+ 0,(", "e": "-#+ 0("}
"""Flags that go with each conversion."""
_UPPER = "SBXEC"
_ELSEWHERE = "gGaAhH"
_MOST_DIGITS = 300
_BITS = {Kind.TINYINT: 8, Kind.SMALLINT: 16, Kind.INT: 32, Kind.BIGINT: 64}
_TAKEN = {*TEXTS, *WHOLE_NUMBERS, Kind.DECIMAL, Kind.DOUBLE, Kind.FLOAT, Kind.BOOLEAN, Kind.NULL}


_SURE = dict.fromkeys("sb", frozenset(_TAKEN)) | dict.fromkeys("dxo", WHOLE_NUMBERS) | dict.fromkeys("fe", APPROXIMATE)
"""Types of which each conversion takes every value."""

T = TypeVar("T")


class UnfitError(ValueError):
    """Java refuses the pattern, or the value for its specifier."""


@dataclass(frozen=True, slots=True)
class Specifier:
    """What ``%-10.2f`` says.

    Args:
        flags: any of ``-#+ 0,(``.
        width: UTF-16 units at least.
        precision: digits behind the point; of text, units at most; None if not said.
        conversion: ``s``, ``b``, ``c``, ``d``, ``x``, ``o``, ``f``, ``e`` or ``%``.
        upper: the result is in upper case.
        place: number of the value, from 0.
    """

    flags: str
    width: int
    precision: int | None
    conversion: str
    upper: bool = False
    place: int = 0

    def of(self, values: Sequence[T]) -> T | tuple[None, int]:
        """The value that it shows."""
        return (None, 0) if self.conversion == "%" else values[self.place]

    def __call__(self, value: Any, bits: int = 64) -> str:
        """A value as text; ``bits`` are those of a whole number."""
        text = self._padded(self._text(value, bits))
        return text.upper() if self.upper else text

    def _text(self, value: Any, bits: int) -> str:
        if self.conversion == "%":
            return "%"
        if value is None and self.conversion != "b":
            return self._cut("null")
        if self.conversion == "s":
            return self._cut(plain_text(value))
        if self.conversion == "b":
            return self._cut("false" if value is None or value is False else "true")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if self.conversion == "c" and whole and 0 <= value <= 0x10FFFF:
            return chr(value)
        if self.conversion in "dxo" and whole:
            return self._whole(value, bits)
        if self.conversion in "fe" and isinstance(value, float):
            if not math.isfinite(value):
                name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
                return f"({name[1:]})" if name[0] == "-" and "(" in self.flags else name
            return self._number(value)
        raise UnfitError(f"%{self.conversion} does not take {value!r}")

    def _cut(self, text: str) -> str:
        return text if self.precision is None else characters(units(text)[: self.precision])

    def _whole(self, value: int, bits: int) -> str:
        if self.conversion == "d":
            return self._signed(value < 0, format(abs(value), "," if "," in self.flags else ""))
        digits = format(value & ((1 << bits) - 1), self.conversion)
        prefix = ("0x" if self.conversion == "x" else "0") if "#" in self.flags else ""
        return prefix + (digits.rjust(self.width - len(prefix), "0") if "0" in self.flags else digits)

    def _number(self, value: float) -> str:
        exact = Decimal(repr(value))
        places = 6 if self.precision is None else self.precision
        if self.conversion == "e":
            shift = exact.adjusted() if exact else 0
            scaled = exact.scaleb(-shift).quantize(Decimal(1).scaleb(-places), context=_ROOM)
            if abs(scaled) >= 10:
                shift += 1
                scaled = exact.scaleb(-shift).quantize(Decimal(1).scaleb(-places), context=_ROOM)
            return self._signed(
                scaled.is_signed(), f"{scaled.copy_abs():f}e{'-' if shift < 0 else '+'}{abs(shift):02d}"
            )
        rounded = exact.quantize(Decimal(1).scaleb(-places), context=_ROOM)
        return self._signed(rounded.is_signed(), f"{rounded.copy_abs():{',' if ',' in self.flags else ''}f}")

    def _signed(self, negative: bool, text: str) -> str:
        sign = "+" if "+" in self.flags else " " if " " in self.flags else ""
        before, behind = ("(", ")") if negative and "(" in self.flags else ("-" if negative else sign, "")
        if "0" in self.flags:
            text = text.rjust(self.width - len(before) - len(behind), "0")
        return before + text + behind

    def _padded(self, text: str) -> str:
        missing = " " * (self.width - len(units(text)))
        return text + missing if "-" in self.flags else missing + text


def plain_text(value: Any) -> str:
    """A value as ``%s`` shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_to_text(value)
    return decimal_to_text(value) if isinstance(value, Decimal) else str(value)


@functools.lru_cache(maxsize=256)
def parse(pattern: str) -> tuple[str | Specifier, ...]:
    """The texts and specifiers of a pattern, in order.

    Raises:
        UnfitError: Java refuses the pattern.
        EvaluationError: Java takes it, but it is not supported here.

    Example:
        >>> parse("%s: %.2f%%")[2](2.345)
        '2.35'
        >>> parse("%,d and %05d")[0](1234567)
        '1,234,567'
    """
    parts: list[str | Specifier] = []
    place = ordinary = last = 0
    used = False
    while (found := pattern.find("%", place)) >= 0:
        parts.append(pattern[place:found])
        match = _SPECIFIER.match(pattern, found)
        if match is None:
            raise UnfitError(f"{pattern[found : found + 6]!r} is not a specifier, such as %s or %.2f; %% gives one %")
        index, relative, conversion = match[1], match[2], match[6]
        place = match.end()
        if conversion in "n%":
            parts.append(_sign(match))
            continue
        if relative and not used:
            raise UnfitError("%< has nothing before it")
        if index:
            last = int(index) - 1
        elif not relative:
            last, ordinary = ordinary, ordinary + 1
        if last < 0:
            raise UnfitError("values are counted from 1")
        used = True
        parts.append(_checked(match, last))
    return tuple(part for part in (*parts, pattern[place:]) if part != "")


def _sign(match: re.Match[str]) -> str | Specifier:
    """``%n`` or ``%%``."""
    flags, width, precision, conversion = match[3], match[4], match[5], match[6]
    if precision is not None or (conversion == "n" and (flags or width)) or set(flags) - {"-"} or (flags and not width):
        raise UnfitError(f"{match[0]!r} has flags that mean nothing")
    return "\n" if conversion == "n" else Specifier(flags, int(width or 0), None, "%")


def _checked(match: re.Match[str], place: int) -> Specifier:
    flags, width, precision, letter = match[3], match[4], match[5], match[6]
    conversion = letter.lower() if letter in _UPPER else letter
    if letter in _ELSEWHERE or letter[0] in "tT":
        raise EvaluationError(f"{match[0]!r} is not supported in PRINTF")
    if conversion not in _FLAGS:
        raise UnfitError(f"{match[0]!r} is not a specifier")
    if max(int(width or 0), int(precision or 0)) > _MOST_DIGITS:
        raise EvaluationError(f"{match[0]!r} is too wide: {_MOST_DIGITS} is the most")
    unfit = (
        set(flags) - set(_FLAGS[conversion])
        or len(set(flags)) < len(flags)
        or {"-", "0"} <= set(flags)
        or {"+", " "} <= set(flags)
        or (set(flags) & set("-0") and not width)
        or (precision is not None and conversion in "cdxo")
    )
    if unfit:
        raise UnfitError(f"{match[0]!r} has flags or a precision that do not go together")
    digits = None if precision is None else int(precision)
    return Specifier(flags, int(width or 0), digits, conversion, letter in _UPPER, place)


def printf(pattern: str, *values: tuple[Any, int]) -> str | None:
    """The text; NULL for a pattern or value that Java refuses.

    Args:
        pattern: the pattern.
        values: each with the bits of its type, if it is a whole number (else 0).

    Example:
        >>> printf("%2$s has %1$d", (3, 32), ("ann", 0)), printf("%d", ("ann", 0)), printf("%x", (-1, 32))
        ('ann has 3', None, 'ffffffff')
    """
    try:
        texts = [part if isinstance(part, str) else part(*part.of(values)) for part in parse(pattern)]
    except (UnfitError, IndexError):
        return None
    return "".join(texts)


def compile_printf(compiler: Compiler, node: n.Call) -> Code:
    """Source of ``PRINTF(pattern, value, …)``."""
    if not node.args:
        raise compiler.fail(node, "PRINTF takes a pattern and values, as in PRINTF('%s: %.2f', name, share)")
    pattern = compiler.value(node.args[0])
    if pattern.type.kind not in TEXTS:
        raise compiler.fail(node.args[0], f"the pattern of PRINTF must be text, not {pattern.type.with_nullable(True)}")
    parts: tuple[str | Specifier, ...] = ()
    fits = True
    if pattern.constant is not None:
        try:
            parts = parse(pattern.constant)
        except UnfitError:
            fits = False
        except EvaluationError as error:
            raise compiler.fail(node.args[0], str(error)) from None
    values = [_value(compiler, arg, parts, place) for place, arg in enumerate(node.args[1:])]
    if not fits:
        return Code("None", STRING)
    env = compiler.env
    sure = pattern.constant is not None and all(_sure(part, values) for part in parts)
    if sure:
        sources = [repr(part) if isinstance(part, str) else _call(env.constant(part), part, values) for part in parts]
        return Code(f"({' + '.join(sources)})" if sources else "''", STRING.with_nullable(False))
    pairs = "".join(f", ({code.source}, {_BITS.get(code.type.kind, 0)})" for code in values)
    helper = env.use(printf)
    name = env.temporary()
    source = f"(None if ({name} := {pattern.source}) is None else {helper}({name}{pairs}))"
    return Code(source, STRING)


def _sure(part: str | Specifier, values: list[Code]) -> bool:
    """Whether a specifier takes every value that its argument can have."""
    if isinstance(part, str):
        return True
    if part.conversion == "%":
        return True
    if part.place >= len(values):
        return False
    return values[part.place].type.kind in _SURE.get(part.conversion, frozenset())


def _call(name: str, part: Specifier, values: list[Code]) -> str:
    if part.conversion == "%":
        return f"{name}(None, 0)"
    code = values[part.place]
    return f"{name}({code.source}, {_BITS.get(code.type.kind, 0)})"


def _value(compiler: Compiler, node: n.Node, parts: tuple[str | Specifier, ...], place: int) -> Code:
    code = compiler.value(node)
    if code.type.kind not in _TAKEN:
        raise compiler.fail(node, f"PRINTF shows no {code.type.with_nullable(True)} well: CAST it to STRING")
    for part in parts:
        decimals = isinstance(part, Specifier) and part.place == place and part.conversion in "fde"
        if decimals and code.type.kind is Kind.DECIMAL and isinstance(part, Specifier):
            problem = f"%{part.conversion} gives NULL for a {code.type.with_nullable(True)}"
            raise compiler.fail(node, f"{problem}: CAST it to DOUBLE for %f, to BIGINT for %d")
    return code
