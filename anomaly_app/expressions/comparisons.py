"""Both sides of a comparison in types that Python compares as SQL does."""

from __future__ import annotations

from anomaly_app.conversions import RANGES
from anomaly_app.expressions.arithmetic import limits
from anomaly_app.expressions.casts import as_double, cast
from anomaly_app.expressions.typed import FLOOR_SLACK, Code, Dialect, Environment, common_type, guarded
from anomaly_app.expressions.values import wrapped
from anomaly_app.schema import APPROXIMATE, NUMBERS, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind, units_per_second

_TIMES = TIMESTAMPS | {Kind.DATE, Kind.TIME}
_NESTED = frozenset({Kind.ARRAY, Kind.MAP, Kind.ROW})
_EXACT_DOUBLES = 1 << 53
"""Up to here a double names every whole number."""


def comparable(env: Environment, dialect: Dialect, left: Code, right: Code) -> tuple[Code, Code] | None:
    """Both sides, converted where they have to be; None if they cannot be compared."""
    a, b = left.type, right.type
    kinds = {a.kind, b.kind}
    if Kind.NULL in kinds or kinds <= TEXTS:
        return left, right
    if kinds <= NUMBERS:
        return _numbers(env, left, right) if kinds & APPROXIMATE else (left, right)
    if kinds <= TIMESTAMPS and units_per_second(a) == units_per_second(b):
        return left, right
    if kinds & _NESTED:
        return _nested(env, left, right)
    if a.kind is b.kind and a.kind not in TIMESTAMPS:
        return left, right
    if kinds <= TIMESTAMPS | {Kind.DATE}:
        return _both(env, left, right, common_type([a, b]))
    if kinds & TEXTS and dialect is Dialect.FLINK:
        other = b if a.kind in TEXTS else a
        if other.kind in NUMBERS | _TIMES | {Kind.BOOLEAN}:
            # A text that is no date or time is NULL; one that is no number fails.
            return _both(env, left, right, other, safe=other.kind in _TIMES)
    return None


def _both(
    env: Environment, left: Code, right: Code, target: DataType | None, safe: bool = False
) -> tuple[Code, Code] | None:
    if target is None:
        return None
    first, second = cast(env, left, target, safe=safe), cast(env, right, target, safe=safe)
    return None if first is None or second is None else (first, second)


def _numbers(env: Environment, left: Code, right: Code) -> tuple[Code, Code]:
    kinds = {left.type.kind, right.type.kind}
    if len(kinds) == 1:
        return left, right
    if Kind.DECIMAL in kinds or kinds == APPROXIMATE:
        return as_double(env, left), as_double(env, right)
    if Kind.FLOAT in kinds:
        single = DataType(Kind.FLOAT)
        return cast(env, left, single) or left, cast(env, right, single) or right
    # Python compares a whole number with a double exactly; Java makes it a double, which tells where it is large.
    small = any(
        isinstance(side.constant, (int, float)) and abs(side.constant) < _EXACT_DOUBLES for side in (left, right)
    )
    if Kind.BIGINT not in kinds or small:
        return left, right
    return as_double(env, left), as_double(env, right)


def _nested(env: Environment, left: Code, right: Code) -> tuple[Code, Code] | None:
    if _alike(left.type, right.type):
        return left, right
    target = common_type([left.type, right.type])
    return None if target is None else _both(env, left, right, target)


def _alike(a: DataType | None, b: DataType | None) -> bool:
    """Whether values of two types are equal exactly if they are in Python."""
    if a is None or b is None:
        return a is b
    kinds = {a.kind, b.kind}
    if kinds <= TEXTS or kinds <= WHOLE_NUMBERS:
        return True
    if (
        a.kind is not b.kind
        or (a.kind in TIMESTAMPS and units_per_second(a) != units_per_second(b))
        or len(a.fields) != len(b.fields)
    ):
        return False
    parts = [(a.key, b.key), (a.element, b.element)]
    parts += [(one, other) for (_, one), (_, other) in zip(a.fields, b.fields, strict=True)]
    return all(_alike(one, other) for one, other in parts)


_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def compare_unbounded(env: Environment, op: str, wanted: bool, left: Code, right: Code) -> str:
    """Source of a comparison in order with a whole number that may leave its type; "" if there is none.

    Less than a number of the type's range is no number above the range, so one test for each outcome is enough.
    """
    op = op if wanted else _OPPOSITE[op]
    if not right.unbounded:
        left, right, op = right, left, _MIRRORED[op]
    if not right.unbounded or not _no_wider(left.type.kind, right.type.kind):
        return ""
    tests, (a,) = guarded(env, [left], "is not None")
    first = a
    if not a.isidentifier() and left.constant is None:
        first, a = f"({(name := env.temporary())} := {a})", name
    if op == ">" and right.floor:
        # Nearly always it is not: then the floor says so, and that nothing has left its type.
        some, (floor,) = guarded(env, [Code(right.floor, right.type)], "is not None")
        tests += [*some, f"not {first} <= {floor} <= {limits(right.type.kind)[1] - FLOOR_SLACK}"]
        first = a
    some, (given,) = guarded(env, [Code(right.unbounded, right.type)], "is not None")
    tests += some
    value = env.temporary()
    low, high = limits(right.type.kind)
    inside, outside = (f">= {low}", f"> {high}") if op[0] == ">" else (f"<= {high}", f"< {low}")
    again = f"{a} {op} {env.use(wrapped)}({value}, {env.constant(right.type.kind)})"
    test = f"(({value} {inside} or {again}) if {first} {op} ({value} := {given}) else ({value} {outside} and {again}))"
    return f"({' and '.join([*tests, test])})"


def _no_wider(a: Kind, b: Kind) -> bool:
    return a in WHOLE_NUMBERS and b in WHOLE_NUMBERS and RANGES[a][1] <= RANGES[b][1]
