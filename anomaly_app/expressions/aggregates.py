"""Aggregate functions: result types, and source that computes them row by row or over a list of values.

An aggregate is made of parts (a sum, a count, …). A part can be carried on by one value, which is how DEFINE keeps
it for every thread of matching, or computed from all values, which is how MEASURES does at a match. NULLs are skipped
before; without values every aggregate is NULL, COUNT is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from anomaly_app.expressions import values as v
from anomaly_app.expressions.typed import Code, Dialect, Environment
from anomaly_app.schema import (
    APPROXIMATE,
    BIGINT,
    DOUBLE,
    NUMBERS,
    STRING,
    TEXTS,
    WHOLE_NUMBERS,
    DataType,
    Kind,
)

AGGREGATES = frozenset(
    "COUNT SUM AVG MIN MAX STDDEV STDDEV_POP STDDEV_SAMP VAR_POP VAR_SAMP VARIANCE ARRAY_AGG LISTAGG "
    "FIRST_VALUE LAST_VALUE MEDIAN MAD AVG_WITHOUT_MAX STDDEV_WITHOUT_MAX".split()
)
"""Those of Flink SQL, and four of our own for rules about outliers: the median, the median absolute deviation, and
mean and sample deviation of all values but one greatest."""


@dataclass(frozen=True, slots=True)
class Part:
    """A component of an aggregate.

    Args:
        kind: names it; parts of one kind over the same values are shared.
        initial: source of its value before the first row.
        update: source of its next value from sources of its value and of a value that is not NULL.
        batch: source of its value from the source of a list of all values.
    """

    kind: str
    initial: str
    update: Callable[[str, str], str]
    batch: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate of values of one type.

    Args:
        type: of the result.
        parts: its components.
        finish: source of the result from the sources of the parts, each a plain name.
        keeps_nulls: NULLs are values too (ARRAY_AGG).
        floor: source of a whole number that is the result or one less, if that costs less.
    """

    type: DataType
    parts: tuple[Part, ...]
    finish: Callable[..., str]
    keeps_nulls: bool = False
    floor: Callable[..., str] | None = None


def _count() -> Part:
    return Part("count", "0", lambda old, _: f"{old} + 1", lambda values: f"len({values})")


def _sum(env: Environment, type_: DataType) -> Part:
    if type_.kind is Kind.DECIMAL:
        helper = env.use(v.decimal_sum)
        return Part(
            "sum",
            "None",
            lambda old, value: f"{value} if {old} is None else {helper}({old}, {value})",
            lambda values: f"{env.use(decimal_total)}({values})",
        )
    return Part(
        "sum",
        "None",
        lambda old, value: f"{value} if {old} is None else {old} + {value}",
        lambda values: f"{env.use(total)}({values})",
    )


def compile_aggregate(
    name: str, operand: DataType | None, env: Environment, dialect: Dialect, *, distinct: bool, separator: Code | None
) -> Aggregate | None:
    """An aggregate; None if it is not defined for that type.

    Args:
        name: upper case.
        operand: type of the values; None for ``COUNT(*)``.
        env: for helpers.
        dialect: decides the type of AVG.
        distinct: equal values count once.
        separator: second argument of LISTAGG.
    """
    plain = _plain(name, operand, env, dialect, separator)
    if plain is None or not distinct or name in ("MIN", "MAX"):
        return plain
    unique = env.use(distinct_values)
    parts, finish = plain.parts, plain.finish

    def from_values(values: str) -> str:
        names = [env.temporary() for _ in parts]
        first = env.temporary()
        steps = [f"({first} := {unique}({values}))", *(
            f"({part_name} := {part.batch(first)})" for part_name, part in zip(names, parts, strict=True)
        )]  # fmt: skip
        return f"({', '.join(steps)}, {finish(*names)})[-1]"

    kept = Part("values", "()", lambda old, value: f"(*{old}, {value})", lambda values: values)
    return Aggregate(plain.type, (kept,), from_values, plain.keeps_nulls)


def _plain(
    name: str, operand: DataType | None, env: Environment, dialect: Dialect, separator: Code | None
) -> Aggregate | None:
    if name == "COUNT":
        return Aggregate(BIGINT.with_nullable(False), (_count(),), lambda count: count)
    if operand is None:
        return None
    kind, type_ = operand.kind, operand.with_nullable(True)
    if name in ("MIN", "MAX"):
        if kind in (Kind.ARRAY, Kind.MAP, Kind.ROW):
            return None
        sign, function = ("<", "min") if name == "MIN" else (">", "max")
        part = Part(
            function,
            "None",
            lambda old, value: f"{value} if {old} is None or {value} {sign} {old} else {old}",
            lambda values: f"{function}({values}, default=None)",
        )
        return Aggregate(type_, (part,), lambda value: value)
    if name in ("FIRST_VALUE", "LAST_VALUE"):
        first = name == "FIRST_VALUE"
        part = Part(
            name.lower(),
            "None",
            lambda old, value: f"{value} if {old} is None else {old}" if first else value,
            lambda values: f"({values}[{0 if first else -1}] if {values} else None)",
        )
        return Aggregate(type_, (part,), lambda value: value)
    if name in ("ARRAY_AGG", "LISTAGG"):
        return _collected(name, type_, env, separator)
    if kind is Kind.NULL:
        return None
    if kind not in NUMBERS:
        return None
    if name == "SUM":
        return _summed(env, type_)
    if name == "AVG":
        return _averaged(env, type_, dialect)
    if name in ("MEDIAN", "MAD"):
        kept = Part("values", "()", lambda old, value: f"(*{old}, {value})", lambda values: values)
        helper = env.use(median if name == "MEDIAN" else median_deviation)
        return Aggregate(DOUBLE, (kept,), lambda values: f"{helper}({values})")
    if name.endswith("_WITHOUT_MAX"):
        return _without_max(name, env)
    return _spread(name, env)


def _summed(env: Environment, type_: DataType) -> Aggregate:
    part = _sum(env, type_)
    if type_.kind is not Kind.DECIMAL:
        return Aggregate(type_, (part,), lambda value: value)
    scale = type_.scale or 0
    rescale = env.use(v.rescale)
    return Aggregate(
        DataType(Kind.DECIMAL, 38, scale),
        (part,),
        lambda value: f"(None if {value} is None else {rescale}({value}, {scale}, 38))",
    )


def _averaged(env: Environment, type_: DataType, dialect: Dialect) -> Aggregate:
    parts = (_sum(env, type_), _count())
    if type_.kind is Kind.DECIMAL:
        scale = type_.scale or 0
        result = DataType(Kind.DECIMAL, 38, max(6, scale)) if dialect is Dialect.FLINK else type_
        divide = env.use(decimal_average)
        return Aggregate(result, parts, lambda s, n: f"(None if {s} is None else {divide}({s}, {n}, {result.scale}))")
    if type_.kind in WHOLE_NUMBERS and dialect is Dialect.FLINK:
        # Truncated towards zero; there is a sum only if there is a count.
        return Aggregate(
            type_,
            parts,
            lambda s, n: f"(None if {s} is None else {s} // {n} if {s} >= 0 else -(-{s} // {n}))",
            floor=lambda s, n: f"(None if {s} is None else {s} // {n})",
        )
    result = type_ if type_.kind in APPROXIMATE else DOUBLE
    return Aggregate(result, parts, lambda s, n: f"(None if {s} is None else {s} / {n})")


def _spread(name: str, env: Environment) -> Aggregate:
    sample = name not in ("STDDEV_POP", "VAR_POP")
    root = name.startswith("STDDEV")
    update, finish = env.use(moments_with), env.use(spread)
    part = Part(
        "moments",
        "(0, 0.0, 0.0)",
        lambda old, value: f"{update}({old}, {value})",
        lambda values: f"{env.use(moments)}({values})",
    )
    return Aggregate(DOUBLE, (part,), lambda state: f"{finish}({state}, {sample}, {root})")


def _without_max(name: str, env: Environment) -> Aggregate:
    update, finish = env.use(others_with), env.use(others_mean if name.startswith("AVG") else others_deviation)
    part = Part(
        "others",
        repr(NO_OTHERS),
        lambda old, value: f"{update}({old}, {value})",
        lambda values: f"{env.use(others)}({values})",
    )
    return Aggregate(DOUBLE, (part,), lambda state: f"{finish}({state})")


def _collected(name: str, type_: DataType, env: Environment, separator: Code | None) -> Aggregate | None:
    kept = Part("values", "()", lambda old, value: f"(*{old}, {value})", lambda values: values)
    if name == "ARRAY_AGG":
        result = DataType(Kind.ARRAY, element=type_)
        return Aggregate(result, (kept,), lambda values: f"(list({values}) if {values} else None)", keeps_nulls=True)
    if type_.kind not in TEXTS:
        return None
    between = separator.source if separator is not None else "','"
    return Aggregate(STRING, (kept,), lambda values: f"(({between}).join({values}) if {values} else None)")


# --- helpers of generated source --------------------------------------------------------------------


def total(values: Iterable[Any]) -> Any:
    """Sum from left to right, as it comes out row by row; NULL without values."""
    result = None
    for value in values:
        result = value if result is None else result + value
    return result


def decimal_total(values: Iterable[Decimal]) -> Decimal | None:
    """Exact sum."""
    result = None
    for value in values:
        result = value if result is None else v.decimal_sum(result, value)
    return result


def decimal_average(sum_: Decimal, count: int, scale: int) -> Decimal | None:
    """Average, rounded half up to a scale."""
    return v.rescale(v.decimal_quotient(sum_, Decimal(count)), scale, 38)


def distinct_values(values: Sequence[Any]) -> list[Any]:
    """Each value once, in order of first occurrence."""
    return list(dict.fromkeys(values))


Moments = tuple[int, float, float]
"""Count, mean, and sum of squared deviations from it (Welford)."""


def moments_with(state: Moments, value: float) -> Moments:
    """One more value (B. P. Welford, Technometrics 4, 1962)."""
    count, mean, squares = state
    count += 1
    delta = float(value) - mean
    mean += delta / count
    return count, mean, squares + delta * (float(value) - mean)


def moments(values: Iterable[float]) -> Moments:
    """Count, mean and squared deviations of all values."""
    state: Moments = (0, 0.0, 0.0)
    for value in values:
        state = moments_with(state, value)
    return state


def spread(state: Moments, sample: bool, root: bool) -> float | None:
    """Variance or standard deviation; NULL if there are too few values.

    Example:
        >>> spread(moments([1, 3]), True, False), spread(moments([1]), True, True)
        (2.0, None)
    """
    count, _, squares = state
    divisor = count - 1 if sample else count
    if divisor < 1:
        return None
    variance = squares / divisor
    return math.sqrt(variance) if root else variance


def median(values: Iterable[float]) -> float | None:
    """The value in the middle, or the mean of the two there; NULL without values.

    Example:
        >>> median([5, 1, 2]), median([4, 1])
        (2.0, 2.5)
    """
    ordered = sorted(map(float, values))
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def median_deviation(values: Iterable[float]) -> float | None:
    """Median absolute deviation from the median (F. R. Hampel, JASA 69, 1974), not scaled.

    Example:
        >>> median_deviation([1, 2, 3, 4, 100])
        1.0
    """
    numbers = list(map(float, values))
    middle = median(numbers)
    return None if middle is None else median([abs(number - middle) for number in numbers])


Others = tuple[Any, int, float, float]
"""The greatest value, and count, mean and squared deviations of all others."""
NO_OTHERS: Others = (None, 0, 0.0, 0.0)


def others_with(state: Others, value: Any) -> Others:
    """One more value: the smaller one of it and the greatest so far joins the others.

    To take the greatest out of the moments of all values afterwards would cancel most digits where it dominates.
    """
    greatest, count, mean, squares = state
    if greatest is None:
        return value, 0, 0.0, 0.0
    if value > greatest:
        greatest, value = value, greatest
    return greatest, *moments_with((count, mean, squares), value)


def others(values: Iterable[Any]) -> Others:
    """The greatest value and the moments of the others, of all values."""
    state = NO_OTHERS
    for value in values:
        state = others_with(state, value)
    return state


def others_mean(state: Others) -> float | None:
    """Mean of all but the greatest; NULL if there are none.

    Example:
        >>> others_mean(others([1, 100, 3])), others_mean(others([7]))
        (2.0, None)
    """
    return state[2] if state[1] else None


def others_deviation(state: Others) -> float | None:
    """Sample deviation of all but the greatest; NULL if there are fewer than two."""
    return spread(state[1:], True, True)


def merged_moments(a: Moments, b: Moments) -> Moments:
    """Moments of two sets of values as those of one (T. F. Chan, G. H. Golub, R. J. LeVeque, 1979).

    Example:
        >>> merged_moments(moments([1, 2]), moments([3, 6])) == moments([1, 2, 3, 6])
        True
    """
    count = a[0] + b[0]
    if not a[0] or not b[0]:
        return a if a[0] else b
    delta = b[1] - a[1]
    return count, a[1] + delta * b[0] / count, a[2] + b[2] + delta * delta * a[0] * b[0] / count


def merged_others(a: Others, b: Others) -> Others:
    """The greatest of two sets of values, and the moments of all others."""
    if a[0] is None or b[0] is None:
        return a if b[0] is None else b
    if b[0] > a[0]:
        a, b = b, a
    return a[0], *moments_with(merged_moments(a[1:], b[1:]), b[0])
