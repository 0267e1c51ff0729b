"""Types and source of ``+ - * / %`` over numbers, dates and intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anomaly_app.conversions import RANGES
from anomaly_app.expressions import values as v
from anomaly_app.expressions.casts import as_double, cast
from anomaly_app.expressions.time_arithmetic import time_arithmetic
from anomaly_app.expressions.typed import (
    FLOOR_SLACK,
    Code,
    Dialect,
    Environment,
    as_decimal,
    common_type,
    decimal_type,
    null_safe,
)
from anomaly_app.schema import APPROXIMATE, DOUBLE, NUMBERS, WHOLE_NUMBERS, DataType, Kind


def compile_arithmetic(env: Environment, dialect: Dialect, op: str, left: Code, right: Code) -> Code | None:
    """Source and type of an arithmetic operation; None if it is not defined for these types."""
    kinds = {left.type.kind, right.type.kind}
    if kinds == {Kind.NULL}:
        return left
    if Kind.NULL in kinds:
        other = right if left.type.kind is Kind.NULL else left
        return Code("None", other.type.with_nullable(True)) if other.type.kind in NUMBERS else None
    if not kinds <= NUMBERS:
        return time_arithmetic(env, op, left, right)
    if kinds & APPROXIMATE:
        return _floats(env, op, left, right)
    if kinds <= WHOLE_NUMBERS:
        return _whole(env, dialect, op, left, right)
    return _decimals(env, dialect, op, left, right)


def negative(env: Environment, code: Code) -> Code:
    """Source of ``- x`` for a number or an interval."""
    kind, type_ = code.type.kind, code.type
    if kind in WHOLE_NUMBERS:
        low = RANGES[kind][0]
        value = env.temporary()
        return null_safe(env, [code], lambda a: f"({value} if ({value} := -{a}) != {-low} else {low})", type_)
    if kind is Kind.DECIMAL:
        helper = env.use(v.decimal_negative)
        return null_safe(env, [code], lambda a: f"{helper}({a})", type_)
    return null_safe(env, [code], lambda a: f"(-{a})", type_)


_SMALL = (1 << 30) - 1
"""Python compares numbers up to here faster."""


def limits(kind: Kind) -> tuple[int, int]:
    """Between these a whole number is surely in the range of its type; beyond, :func:`~values.wrapped` sees to it."""
    return (-_SMALL, _SMALL) if kind is Kind.INT else RANGES[kind]


def in_range(
    env: Environment, source: str, kind: Kind, bounds: tuple[int, int], dialect: Dialect = Dialect.FLINK
) -> str:
    """Source of a whole number that keeps to its type: it wraps, or (standard dialect) fails.

    Args:
        env: for helpers.
        source: of the number.
        kind: its type.
        bounds: the least and greatest value it can have.
        dialect: what happens beyond the type.
    """
    low, high = RANGES[kind]
    above, below = bounds[1] > high, bounds[0] < low
    if not above and not below:
        return source
    value, helper = env.temporary(), env.use(v.wrapped if dialect is Dialect.FLINK else v.in_type)
    low, high = limits(kind)
    test = f"{low} <= ({value} := {source}) <= {high}" if above and below else (
        f"({value} := {source}) <= {high}" if above else f"({value} := {source}) >= {low}"
    )  # fmt: skip
    return f"({value} if {test} else {helper}({value}, {env.constant(kind)}))"


def _bounds(code: Code) -> tuple[int, int]:
    return (code.constant, code.constant) if isinstance(code.constant, int) else RANGES[code.type.kind]


def _whole(env: Environment, dialect: Dialect, op: str, left: Code, right: Code) -> Code:
    wider = common_type([left.type, right.type])
    assert wider is not None
    (a, b), (c, d) = _bounds(left), _bounds(right)
    if op in "+-*":
        found = {"+": [a + c, b + d], "-": [a - d, b - c], "*": [a * c, a * d, b * c, b * d]}[op]
        bounds = min(found), max(found)
        plain = null_safe(env, [left, right], lambda x, y: f"({x} {op} {y})", wider)
        if RANGES[wider.kind][0] <= bounds[0] and bounds[1] <= RANGES[wider.kind][1]:
            return plain

        def build(x: str, y: str) -> str:
            return in_range(env, f"({x} {op} {y})", wider.kind, bounds, dialect)

        safe = null_safe(env, [left, right], build, wider)
        if dialect is not Dialect.FLINK:
            return safe
        floor = _floor_of_product(env, left, right, wider) if op == "*" else ""
        return replace(safe, unbounded=plain.source, floor=floor)
    helper = env.use(v.quotient if op == "/" else v.remainder)
    type_ = wider if op == "/" else right.type
    # Only the least number by -1 leaves its type.
    bounds = (a, -a) if op == "/" and c <= -1 <= d else (0, 0)

    def divide(x: str, y: str) -> str:
        return in_range(env, f"{helper}({x}, {y})", type_.kind, bounds, dialect)

    return null_safe(env, [left, right], divide, type_)


def _floor_of_product(env: Environment, left: Code, right: Code, wider: DataType) -> str:
    """A floor times a small positive number is a floor again."""
    number, factor = (right, left.constant) if left.constant is not None else (left, right.constant)
    near = number.floor and not number.unbounded  # one less at most
    if not near or factor is None or not 0 < factor <= FLOOR_SLACK or wider.kind not in (Kind.INT, Kind.BIGINT):
        return ""
    return null_safe(env, [Code(number.floor, number.type)], lambda x: f"({x} * {factor})", wider).source


def _floats(env: Environment, op: str, left: Code, right: Code) -> Code:
    kinds = {left.type.kind, right.type.kind}
    if Kind.DECIMAL in kinds or not kinds & APPROXIMATE == APPROXIMATE:
        target = DOUBLE if kinds & {Kind.DECIMAL, Kind.DOUBLE} else DataType(Kind.FLOAT)
    else:
        target = left.type.with_nullable(True)  # FLOAT and DOUBLE give the type of the first
    if target.kind is Kind.FLOAT:
        helpers = {"+": v.single_sum, "-": v.single_difference, "*": v.single_product}
        helper = env.use({**helpers, "/": v.single_quotient, "%": v.single_remainder}[op])
        args = [left, right]
    else:
        args = [side if side.type.kind in WHOLE_NUMBERS | {Kind.DOUBLE} else as_double(env, side)
                for side in (left, right)]  # fmt: skip
        if op in "+-*":
            return null_safe(env, args, lambda a, b: f"({a} {op} {b})", target)
        helper = env.use(v.float_quotient if op == "/" else v.float_remainder)
    return null_safe(env, args, lambda a, b: f"{helper}({a}, {b})", target)


def _decimals(env: Environment, dialect: Dialect, op: str, left: Code, right: Code) -> Code:
    (p1, s1), (p2, s2) = as_decimal(left.type), as_decimal(right.type)
    result = {
        "+": lambda: (max(p1 - s1, p2 - s2) + max(s1, s2) + 1, max(s1, s2)),
        "*": lambda: (p1 + p2 + (1 if dialect is Dialect.FLINK else 0), s1 + s2),
        "%": lambda: (min(p1 - s1, p2 - s2) + max(s1, s2), max(s1, s2)),
        "/": lambda: _division(dialect, p1, s1, p2, s2),
    }["+" if op == "-" else op]()
    type_ = decimal_type(*result)
    helper = env.use(
        {
            "+": v.decimal_sum,
            "-": v.decimal_difference,
            "*": v.decimal_product,
            "/": v.decimal_quotient,
            "%": v.decimal_remainder,
        }[op]
    )
    args = [
        cast(env, side, DataType(Kind.DECIMAL, *as_decimal(side.type))) if side.type.kind in WHOLE_NUMBERS else side
        for side in (left, right)
    ]
    overflow = result[0] > 38
    rescale = env.use(v.rescale)

    def build(a: str, b: str) -> str:
        return f"{rescale}({helper}({a}, {b}), {type_.scale}, {type_.precision})"

    return null_safe(env, [arg for arg in args if arg is not None], build, type_, nullable=overflow)


def _division(dialect: Dialect, p1: int, s1: int, p2: int, s2: int) -> tuple[int, int]:
    if dialect is Dialect.STANDARD:
        return p1 + s2 + max(s2 - s1, 0), max(s1, s2)
    scale = max(6, s1 + p2 + 1)
    return p1 - s1 + s2 + scale, scale


def element_at(array: list[Any], index: int) -> Any:
    """Element of an ARRAY, counted from 1; NULL beyond its ends."""
    return array[index - 1] if 1 <= index <= len(array) else None


def value_at(mapping: dict[Any, Any], key: Any) -> Any:
    """Value of a MAP; NULL without the key."""
    return mapping.get(key)
