"""Types and source of ``+ - *`` over dates, times, timestamps and intervals."""

from __future__ import annotations

from anomaly_app.expressions.casts import cast
from anomaly_app.expressions.time_casts import INTERVALS, per_day
from anomaly_app.expressions.typed import Code, Environment, null_safe
from anomaly_app.schema import TIMESTAMP_3, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind, units_per_second
from anomaly_app.times import calendar, units

_INTERVAL_DAY, _INTERVAL_YEAR = DataType(Kind.INTERVAL_DAY), DataType(Kind.INTERVAL_YEAR)
_POINTS = TIMESTAMPS | {Kind.DATE}


def time_arithmetic(env: Environment, op: str, left: Code, right: Code) -> Code | None:
    """Source and type of an operation with a time in it; None if it is not defined for these types."""
    a, b = left.type, right.type
    if op == "+" and a.kind in INTERVALS and b.kind not in INTERVALS:
        left, right, a, b = right, left, b, a
    if op in "+-" and a.kind in _POINTS | {Kind.TIME} and b.kind in INTERVALS:
        return _shift(env, op, left, right)
    if a.kind in INTERVALS and b.kind is a.kind and op in "+-":
        return null_safe(env, [left, right], lambda x, y: f"({x} {op} {y})", a)
    if op == "*" and {a.kind, b.kind} & INTERVALS and {a.kind, b.kind} & WHOLE_NUMBERS:
        return null_safe(env, [left, right], lambda x, y: f"({x} * {y})", a if a.kind in INTERVALS else b)
    if op == "-" and a.kind in TIMESTAMPS and b.kind in TIMESTAMPS:
        return difference(env, left, right, "SECOND")
    return None


def _shift(env: Environment, op: str, left: Code, right: Code) -> Code | None:
    """A date, time or timestamp plus or minus an interval."""
    kind = left.type.kind
    sign = "" if op == "+" else "-"
    if right.type.kind is Kind.INTERVAL_YEAR:
        if kind is Kind.TIME:  # months change no time of day
            return null_safe(env, [left, right], lambda a, _: a, left.type)
        helper, size = env.use(calendar.add_months), per_day(left.type)
        return null_safe(env, [left, right], lambda a, b: f"{helper}({a}, {sign}{b}, {size})", left.type)
    if kind is Kind.DATE:
        helper = env.use(units.shift_date)
        return null_safe(env, [left, right], lambda a, b: f"{helper}({a}, {sign}{b})", left.type)
    if kind is Kind.TIME:
        return null_safe(env, [left, right], lambda a, b: f"(({a} {op} {b}) % {calendar.DAY_MS})", left.type)
    scale = units_per_second(left.type) // 1_000
    factor = f" * {scale}" if scale > 1 else ""
    return null_safe(env, [left, right], lambda a, b: f"({a} {op} {b}{factor})", left.type)


def in_millis(env: Environment, code: Code) -> Code | None:
    """A date or timestamp in milliseconds, finer digits cut off downwards; None for another type."""
    if code.type.kind in TIMESTAMPS and units_per_second(code.type) == 1_000:
        return code
    return cast(env, code, TIMESTAMP_3) if code.type.kind in _POINTS else None


def difference(env: Environment, left: Code, right: Code, unit: str) -> Code | None:
    """``(left - right) unit``: an interval of milliseconds, or of whole months; None if there is no difference."""
    if (left.type.kind is Kind.TIMESTAMP_LTZ) is not (right.type.kind is Kind.TIMESTAMP_LTZ):
        return None
    if left.type.kind is right.type.kind is Kind.TIME and unit not in units.MONTHS:
        return null_safe(env, [left, right], lambda a, b: f"({a} - {b})", _INTERVAL_DAY)
    first, second = in_millis(env, left), in_millis(env, right)
    if first is None or second is None:
        return None
    if unit in units.MONTHS:
        helper = env.use(units.whole_months)
        return null_safe(env, [first, second], lambda a, b: f"{helper}({b}, {a})", _INTERVAL_YEAR)
    return null_safe(env, [first, second], lambda a, b: f"({a} - {b})", _INTERVAL_DAY)
