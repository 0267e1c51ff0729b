"""PRINTF: texts made after a pattern, as ``java.util.Formatter`` makes them for Flink SQL (2.1 and later).

Numbers behind the point are rounded half up, from the shortest digits that name the double: 1.005 to two places is
1.01, where C and Python, which round the binary value, give 1.00.
"""

from __future__ import annotations

import decimal
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.casts import cast
from anomaly_app.expressions.typed import Code
from anomaly_app.schema import APPROXIMATE, BOOLEAN, NUMBERS, STRING, TEXTS, WHOLE_NUMBERS, DataType, Kind

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler

_SPECIFIER = re.compile(r"%([-#+ 0,(]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])")
_ROOM = decimal.Context(prec=1_200, rounding=decimal.ROUND_HALF_UP, Emin=-999_999, Emax=999_999)
"""For every double, and more digits behind its point than anybody asks for."""
_WANTED: dict[str, tuple[frozenset[Kind], str]] = {
    "f": (APPROXIMATE | {Kind.DECIMAL}, "a DOUBLE or DECIMAL (%d is for whole numbers)"),
    "d": (WHOLE_NUMBERS, "a whole number (%.2f is for others)"),
    "x": (WHOLE_NUMBERS, "a whole number"),
    "b": (frozenset({BOOLEAN.kind}), "a BOOLEAN"),
}
_CONVERSIONS = "sSdfxb"
_MOST_DIGITS = 300


@dataclass(frozen=True, slots=True)
class Specifier:
    """What ``%-10.2f`` says.

    Args:
        flags: any of ``-+0, (``.
        width: characters at least.
        precision: digits behind the point; of text, characters at most; None if not said.
        conversion: ``s``, ``S``, ``d``, ``f``, ``x`` or ``b``.
    """

    flags: str
    width: int
    precision: int | None
    conversion: str

    def __call__(self, value: Any) -> str:
        """A value as text; it is text already for ``s`` and ``S``."""
        if value is None:
            # As in Java, the precision cuts the word too.
            return self._padded("null" if self.precision is None else "null"[: self.precision])
        if self.conversion in "sSb":
            text = str(value) if self.conversion != "b" else str(value).lower()
            text = text if self.precision is None else text[: self.precision]
            return self._padded(text.upper() if self.conversion == "S" else text)
        if isinstance(value, float) and not math.isfinite(value):
            return self._padded("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")
        return self._number(value)

    def _number(self, value: Any) -> str:
        comma = "," if "," in self.flags else ""
        if self.conversion == "f":
            exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
            digits = 6 if self.precision is None else self.precision
            exact = exact.quantize(Decimal(1).scaleb(-digits), context=_ROOM)
            negative, text = exact.is_signed(), f"{exact.copy_abs():{comma}f}"
        else:
            negative, text = value < 0, format(abs(value), comma + ("x" if self.conversion == "x" else "d"))
        sign = "+" if "+" in self.flags else " " if " " in self.flags else ""
        before, behind = ("(", ")") if negative and "(" in self.flags else ("-" if negative else sign, "")
        if "0" in self.flags:
            text = text.rjust(self.width - len(before) - len(behind), "0")
        return self._padded(before + text + behind)

    def _padded(self, text: str) -> str:
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)


def parse(pattern: str) -> list[str | Specifier]:
    """The texts and specifiers of a pattern, in order.

    Raises:
        ValueError: what is wrong with it.

    Example:
        >>> parse("%s: %.2f%%")[2](2.345)
        '2.35'
        >>> parse("%,d and %05d")[0](1234567)
        '1,234,567'
    """
    parts: list[str | Specifier] = []
    place = 0
    while (found := pattern.find("%", place)) >= 0:
        parts.append(pattern[place:found])
        match = _SPECIFIER.match(pattern, found)
        if match is None:
            raise ValueError(f"{pattern[found : found + 6]!r} is not a specifier, such as %s or %.2f; %% gives one %")
        flags, width, precision, conversion = match.groups()
        if conversion in "%n":
            parts.append("%" if conversion == "%" else "\n")
        elif conversion not in _CONVERSIONS:
            known = ", ".join(f"%{letter}" for letter in _CONVERSIONS)
            raise ValueError(f"%{conversion} is not supported: there are {known}, %n and %%")
        elif "#" in flags or max(int(width or 0), int(precision or 0)) > _MOST_DIGITS:
            raise ValueError(f"{match.group()!r} is not supported")
        elif conversion in "dx" and (precision is not None or (conversion == "x" and set(flags) & set(",+ ("))):
            raise ValueError(f"{match.group()!r} has no meaning for whole numbers")
        else:
            digits = None if precision is None else int(precision)
            parts.append(Specifier(flags, int(width or 0), digits, conversion))
        place = match.end()
    return [part for part in (*parts, pattern[place:]) if part != ""]


def compile_printf(compiler: ExpressionCompiler, node: n.Call) -> Code:
    """Source of ``PRINTF(pattern, value, …)``; the pattern is written out, so that types can be checked."""
    pattern = node.args[0] if node.args else node
    if not isinstance(pattern, n.Literal) or pattern.type.kind not in TEXTS:
        raise compiler.fail(pattern, "the pattern of PRINTF must be a text, written out")
    try:
        parts = parse(pattern.value)
    except ValueError as error:
        raise compiler.fail(pattern, str(error)) from None
    values = list(node.args[1:])
    wanted = sum(isinstance(part, Specifier) for part in parts)
    if len(values) != wanted:
        raise compiler.fail(node, f"the pattern is for {wanted} values, but there are {len(values)}")
    sources = []
    for part in parts:
        if isinstance(part, str):
            sources.append(repr(part))
        else:
            sources.append(f"{compiler.env.constant(part)}({_argument(compiler, values.pop(0), part)})")
    return Code(f"({' + '.join(sources)})" if sources else "''", STRING.with_nullable(False))


def _argument(compiler: ExpressionCompiler, node: n.Node, specifier: Specifier) -> str:
    code = compiler.value(node)
    if code.type.kind is Kind.NULL:
        return "None"
    if specifier.conversion in "sS":
        text = code if code.type.kind in TEXTS else cast(compiler.env, code, DataType(Kind.STRING))
        if text is None:
            raise compiler.fail(node, f"{code.type.with_nullable(True)} has no form as text")
        return text.source
    kinds, words = _WANTED[specifier.conversion]
    if code.type.kind not in kinds:
        hint = ": CAST it to a number" if code.type.kind in TEXTS and kinds <= NUMBERS else ""
        problem = f"%{specifier.conversion} takes {words}, not {code.type.with_nullable(True)}{hint}"
        raise compiler.fail(node, problem)
    return code.source
