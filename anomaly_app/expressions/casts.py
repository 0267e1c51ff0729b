"""Casts and implicit conversions as source."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions import values as v
from anomaly_app.expressions.nested_casts import NESTED, nested_cast, nested_text
from anomaly_app.expressions.typed import Code, Environment, as_decimal, null_safe
from anomaly_app.schema import APPROXIMATE, NUMBERS, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind

_DIGITS_OF = {Kind.TINYINT: 3, Kind.SMALLINT: 5, Kind.INT: 10, Kind.BIGINT: 19}


def in_millis(type_: DataType) -> bool:
    """Whether a timestamp is held in milliseconds (else microseconds)."""
    return (type_.precision or 0) <= 3


def attempt(function: Callable[[], object]) -> object:
    """The value of a TRY_CAST: NULL where a CAST would fail."""
    try:
        return function()
    except EvaluationError:
        return None


def cast(env: Environment, code: Code, target: DataType, *, safe: bool = False) -> Code | None:
    """Source of ``CAST(code AS target)`` (``safe``: ``TRY_CAST``); None if there is no such cast."""
    result = _cast(env, code, target)
    if result is None or result.source == code.source:
        return result
    if not safe or not may_fail(code.type, target):
        return result
    return Code(f"{env.use(attempt)}(lambda: {result.source})", result.type.with_nullable(True))


def may_fail(source: DataType, target: DataType) -> bool:
    """Whether a cast can fail on some value."""
    if source.kind in NESTED:
        return True
    if source.kind in TEXTS:
        return target.kind not in TEXTS
    if target.kind in WHOLE_NUMBERS and source.kind in WHOLE_NUMBERS:
        return _DIGITS_OF[source.kind] > _DIGITS_OF[target.kind]
    return source.kind in NUMBERS and target.kind in NUMBERS and target.kind not in APPROXIMATE


def _cast(env: Environment, code: Code, target: DataType) -> Code | None:
    source, kind = code.type.kind, target.kind
    if source is Kind.NULL:
        return Code("None", target.with_nullable(True))
    if code.type.with_nullable(True) == target.with_nullable(True):
        return code
    if kind in TEXTS:
        return _to_text(env, code, target)
    converted = _conversion(env, code.type, target)
    if converted is None:
        return None
    build, nullable = converted
    if build == "{}":
        return Code(code.source, target.with_nullable(code.type.nullable), code.constant)
    return null_safe(env, [code], lambda name: build.format(name), target, nullable=nullable)


def _conversion(env: Environment, source: DataType, target: DataType) -> tuple[str, bool] | None:
    """Template of a cast to anything but text, and whether it may give NULL."""
    kind = target.kind
    if kind in NESTED:
        template = nested_cast(env, _cast, source, target)
        return None if template is None else (template, False)
    if kind in WHOLE_NUMBERS:
        return _to_whole(env, source, kind)
    if kind in APPROXIMATE:
        if source.kind in TEXTS:
            return f"{env.use(v.text_to_float)}({{}})", False
        return ("float({})", False) if source.kind in NUMBERS | {Kind.BOOLEAN} else None
    if kind is Kind.DECIMAL:
        precision, scale = as_decimal(target)
        if source.kind in TEXTS:
            return f"{env.use(v.text_to_decimal)}({{}}, {precision}, {scale})", True
        if source.kind in APPROXIMATE:
            return f"{env.use(v.float_to_decimal)}({{}}, {precision}, {scale})", True
        if source.kind in NUMBERS:
            width, digits = as_decimal(source)
            value = f"{env.use(Decimal)}({{}})" if source.kind in WHOLE_NUMBERS else "{}"
            overflow = width - digits > precision - scale
            return f"{env.use(v.rescale)}({value}, {scale}, {precision if overflow else 38})", overflow
        return None
    if kind is Kind.BOOLEAN:
        if source.kind in TEXTS:
            return f"{env.use(v.text_to_boolean)}({{}})", False
        return ("({} != 0)", False) if source.kind in NUMBERS else None
    if kind in TIMESTAMPS:
        return _to_timestamp(env, source, target)
    if kind is Kind.DATE:
        if source.kind in TEXTS:
            return f"{env.use(v.text_to_date)}({{}})", False
        if source.kind in TIMESTAMPS:
            return f"({{}} // {v.DAY_MS if in_millis(source) else v.DAY_MS * 1000})", False
        return None
    if kind is Kind.TIME:
        if source.kind in TEXTS:
            return f"{env.use(v.text_to_time)}({{}})", False
        if source.kind is Kind.TIME:
            return "{}", False
        if source.kind in TIMESTAMPS:
            return f"({{}}{'' if in_millis(source) else ' // 1000'} % {v.DAY_MS})", False
        return None
    if kind is Kind.BYTES and source.kind in TEXTS:
        return "{}.encode()", False
    return None


def _to_whole(env: Environment, source: DataType, kind: Kind) -> tuple[str, bool] | None:
    target = env.constant(kind)
    if source.kind in TEXTS:
        if kind is Kind.INT:
            return f"{env.constant(v.INT_OF_TEXT)}[{{}}]", False
        return f"{env.use(v.text_to_whole)}({{}}, {target})", False
    if source.kind in WHOLE_NUMBERS:
        if _DIGITS_OF[source.kind] <= _DIGITS_OF[kind]:
            return "{}", False
        return f"{env.use(v.whole_in_range)}({{}}, {target})", False
    if source.kind is Kind.DECIMAL:
        return f"{env.use(v.whole_in_range)}(int({{}}), {target})", False
    if source.kind in APPROXIMATE:
        return f"{env.use(v.float_to_whole)}({{}}, {target})", False
    return ("int({})", False) if source.kind is Kind.BOOLEAN else None


def _to_timestamp(env: Environment, source: DataType, target: DataType) -> tuple[str, bool] | None:
    precision = target.precision or 0
    factor = 1 if precision <= 3 else 1000
    if source.kind in TEXTS:
        return f"{env.use(v.text_to_timestamp)}({{}}, {precision})", False
    if source.kind in TIMESTAMPS:
        if in_millis(source):
            return ("{}" if precision <= 3 else "({} * 1000)"), False
        return ("({} // 1000)" if precision <= 3 else "{}"), False
    if source.kind is Kind.DATE:
        return f"({{}} * {v.DAY_MS * factor})", False
    return None


def _to_text(env: Environment, code: Code, target: DataType) -> Code | None:
    kind = code.type.kind
    templates = {
        Kind.BOOLEAN: f"{env.use(v.boolean_to_text)}({{}})",
        Kind.DECIMAL: f"{env.use(v.decimal_to_text)}({{}})",
        Kind.DATE: f"{env.use(v.date_to_text)}({{}})",
        Kind.TIME: f"{env.use(v.time_to_text)}({{}}, {code.type.precision or 0})",
        Kind.BYTES: "{}.decode(errors='replace')",
    }
    if kind in TEXTS:
        build = "{}"
    elif kind in WHOLE_NUMBERS:
        build = "str({})"
    elif kind in APPROXIMATE:
        build = f"{env.use(v.float_to_text)}({{}})"
    elif kind in TIMESTAMPS:
        build = f"{env.use(v.timestamp_to_text)}({{}}, {code.type.precision or 0})"
    elif kind in templates:
        build = templates[kind]
    elif kind in NESTED and (nested := nested_text(env, _cast, code.type)) is not None:
        build = nested
    else:
        return None
    length = target.precision
    if target.kind is not Kind.STRING and length is not None:
        if kind in TEXTS and code.type.precision is not None and code.type.precision <= length:
            pass
        else:
            build += f"[:{length}]"
    if target.kind is Kind.CHAR and length is not None:
        build += f".ljust({length})"
    if build == "{}":
        return Code(code.source, target.with_nullable(code.type.nullable), code.constant)
    return null_safe(env, [code], lambda name: build.format(name), target)


def coerce(env: Environment, code: Code, target: DataType) -> Code | None:
    """An implicit conversion: between numbers, to a wider text or timestamp, from NULL; None if there is none."""
    source, kind = code.type.kind, target.kind
    allowed = (
        source is Kind.NULL
        or source is kind
        or (source in NUMBERS and kind in NUMBERS)
        or (source in TEXTS and kind in TEXTS)
        or (source in TIMESTAMPS | {Kind.DATE} and kind in TIMESTAMPS)
    )
    return cast(env, code, target) if allowed else None
