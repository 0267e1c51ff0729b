"""Types and source of ``+ - * / %`` over numbers, dates and intervals."""

from __future__ import annotations

from typing import Any

from anomaly_app.expressions import values as v
from anomaly_app.expressions.casts import cast
from anomaly_app.expressions.time_arithmetic import time_arithmetic
from anomaly_app.expressions.typed import Code, Dialect, Environment, as_decimal, common_type, decimal_type, null_safe
from anomaly_app.schema import APPROXIMATE, NUMBERS, WHOLE_NUMBERS, DataType, Kind


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
        return _whole(env, op, left, right)
    return _decimals(env, dialect, op, left, right)


def _whole(env: Environment, op: str, left: Code, right: Code) -> Code:
    wider = common_type([left.type, right.type])
    assert wider is not None
    if op in "+-*":
        return null_safe(env, [left, right], lambda a, b: f"({a} {op} {b})", wider)
    helper = env.use(v.quotient if op == "/" else v.remainder)
    type_ = wider if op == "/" else right.type
    return null_safe(env, [left, right], lambda a, b: f"{helper}({a}, {b})", type_)


def _floats(env: Environment, op: str, left: Code, right: Code) -> Code:
    wider = common_type([left.type, right.type])
    assert wider is not None
    sides = [cast(env, side, wider) if side.type.kind is Kind.DECIMAL else side for side in (left, right)]
    args = [side for side in sides if side is not None]
    if op in "+-*":
        return null_safe(env, args, lambda a, b: f"({a} {op} {b})", wider)
    helper = env.use(v.float_quotient if op == "/" else v.float_remainder)
    return null_safe(env, args, lambda a, b: f"{helper}({a}, {b})", wider)


def _decimals(env: Environment, dialect: Dialect, op: str, left: Code, right: Code) -> Code:
    (p1, s1), (p2, s2) = as_decimal(left.type), as_decimal(right.type)
    result = {
        "+": lambda: (max(p1 - s1, p2 - s2) + max(s1, s2) + 1, max(s1, s2)),
        "*": lambda: (p1 + p2, s1 + s2),
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
