"""Casts and implicit conversions as source."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions import cast_values as cv, time_casts
from anomaly_app.expressions.nested_casts import NESTED, nested_cast, nested_text
from anomaly_app.expressions.time_casts import TEMPORAL
from anomaly_app.expressions.typed import Code, Environment, as_decimal, folded, null_safe
from anomaly_app.expressions.values import wrapped
from anomaly_app.schema import APPROXIMATE, DOUBLE, NUMBERS, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind

_DIGITS_OF = {Kind.TINYINT: 3, Kind.SMALLINT: 5, Kind.INT: 10, Kind.BIGINT: 19}

Build = Callable[[str], str]
"""From the source of a value that is not NULL to that of the converted value."""


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
    if safe and may_fail(code.type, target):
        source = f"{env.use(attempt)}(lambda: {result.source})"
        result = Code(source, result.type.with_nullable(True), result.constant)
    return result if code.constant is None or result.constant is not None else folded(env, result)


def may_fail(source: DataType, target: DataType) -> bool:
    """Whether a cast can fail on some value."""
    if source.kind in NESTED:
        return target.kind not in TEXTS
    if source.kind in TEXTS:
        return target.kind not in TEXTS | {Kind.BYTES}
    return source.kind in APPROXIMATE and target.kind is Kind.DECIMAL


def _cast(env: Environment, code: Code, target: DataType) -> Code | None:
    source = code.type
    if source.kind is Kind.NULL:
        return Code("None", target.with_nullable(True))
    if source.with_nullable(True) == target.with_nullable(True):
        return code
    if source.kind is Kind.FLOAT and target.kind is Kind.DOUBLE and code.constant is not None:
        # A constant keeps the digits that were written.
        return Code(code.source, target.with_nullable(source.nullable), code.constant)
    conversion = _conversion(env, source, target)
    if conversion is None:
        return None
    build, nullable = conversion
    if build is _same:
        return Code(code.source, target.with_nullable(source.nullable), code.constant)
    return null_safe(env, [code], build, target, nullable=nullable)


def _same(value: str) -> str:
    return value


def _filled(template: str | None) -> Build | None:
    return None if template is None else _same if template == "{}" else template.format


def _calling(env: Environment, helper: Callable[..., object], *rest: object) -> Build:
    name = env.use(helper)
    more = "".join(f", {env.constant(part)}" for part in rest)
    return lambda value: f"{name}({value}{more})"


def _conversion(env: Environment, source: DataType, target: DataType) -> tuple[Build, bool] | None:
    """What makes the source of a cast, and whether it may give NULL for a value that is not."""
    kind = target.kind
    if kind in TEXTS:
        to_text = _to_text(env, source, target)
        return None if to_text is None else (to_text, False)
    if kind is Kind.DECIMAL:
        return _to_decimal(env, source, target)
    build: Build | None = None
    if kind in WHOLE_NUMBERS:
        build = _to_whole(env, source, kind)
    elif kind in APPROXIMATE:
        build = _to_float(env, source, kind)
    elif kind is Kind.BOOLEAN:
        if source.kind in TEXTS:
            build = _calling(env, cv.text_to_boolean)
        elif source.kind in NUMBERS:
            build = "({} != 0)".format
    elif kind in TEMPORAL:
        build = _filled(time_casts.conversion(env, source, target))
    elif kind is Kind.BYTES and source.kind in TEXTS | {Kind.BYTES}:
        build = _to_bytes(env, source, target)
    elif kind in NESTED:
        build = _filled(nested_cast(env, _cast, source, target))
    return None if build is None else (build, False)


def _to_whole(env: Environment, source: DataType, kind: Kind) -> Build | None:
    if source.kind in TEXTS:
        if kind is Kind.INT:
            texts = env.constant(cv.INT_OF_TEXT)
            return lambda value: f"{texts}[{value}]"
        return _calling(env, cv.text_to_whole, kind)
    if source.kind in WHOLE_NUMBERS:
        if _DIGITS_OF[source.kind] <= _DIGITS_OF[kind]:
            return _same
        return _calling(env, wrapped, kind)
    if source.kind is Kind.DECIMAL:
        return _calling(env, cv.decimal_to_whole, kind)
    if source.kind in APPROXIMATE:
        convert = _calling(env, cv.float_to_whole, kind)
        exact = _widen(env, source)
        return lambda value: convert(exact(value))
    return "int({})".format if source.kind is Kind.BOOLEAN else None


def _widen(env: Environment, source: DataType) -> Build:
    return _calling(env, cv.widened) if source.kind is Kind.FLOAT else _same


def _to_float(env: Environment, source: DataType, kind: Kind) -> Build | None:
    if source.kind in TEXTS:
        double = _calling(env, cv.text_to_float)
    elif source.kind in NUMBERS | {Kind.BOOLEAN}:
        double = _widen(env, source) if source.kind in APPROXIMATE else "float({})".format
    else:
        return None
    if kind is Kind.DOUBLE or source.kind is Kind.FLOAT:
        return double
    single = _calling(env, cv.to_single)
    return lambda value: single(double(value))


def _to_decimal(env: Environment, source: DataType, target: DataType) -> tuple[Build, bool] | None:
    precision, scale = as_decimal(target)
    if source.kind in TEXTS:
        return _calling(env, cv.text_to_decimal, precision, scale), True
    if source.kind in APPROXIMATE:
        convert, exact = _calling(env, cv.float_to_decimal, precision, scale), _widen(env, source)
        return (lambda value: convert(exact(value))), True
    if source.kind not in NUMBERS | {Kind.BOOLEAN}:
        return None
    width, digits = (1, 0) if source.kind is Kind.BOOLEAN else as_decimal(source)
    overflow = width - digits > precision - scale or (digits > scale and width - digits == precision - scale)
    rescale = _calling(env, cv.rescale, scale, precision)
    if source.kind is Kind.DECIMAL:
        return rescale, overflow
    exact_name = env.use(Decimal)
    return (lambda value: rescale(f"{exact_name}({value})")), overflow


def _to_bytes(env: Environment, source: DataType, target: DataType) -> Build:
    whole: Build = "{}.encode()".format if source.kind in TEXTS else _same
    length = target.precision
    if length is None:
        return whole
    if target.fixed:
        cut = _calling(env, cv.bytes_of_length, length)
        return lambda value: cut(whole(value))
    if source.kind is Kind.BYTES and source.precision is not None and source.precision <= length:
        return _same
    return lambda value: f"{whole(value)}[:{length}]"


def _to_text(env: Environment, source: DataType, target: DataType) -> Build | None:
    whole = _as_text(env, source)
    length = target.precision
    if whole is None or target.kind is Kind.STRING or length is None:
        return whole
    fits = source.kind in TEXTS and source.precision is not None and source.precision <= length
    cut = "" if fits else f"[:{length}]"
    if target.kind is Kind.CHAR:
        if fits and source.kind is Kind.CHAR and source.precision == length:
            return _same
        cut += f".ljust({length})"
    return (lambda value: f"{whole(value)}{cut}") if cut else whole


def _as_text(env: Environment, source: DataType) -> Build | None:
    kind = source.kind
    if kind in TEXTS:
        return _same
    if kind in WHOLE_NUMBERS:
        return "str({})".format
    if kind in TEMPORAL:
        return _filled(time_casts.to_text(env, source))
    if kind is Kind.BYTES:
        return "{}.decode(errors='replace')".format
    if kind in NESTED:
        return _filled(nested_text(env, _cast, source))
    helpers: dict[Kind, Callable[..., str]] = {
        Kind.BOOLEAN: cv.boolean_to_text,
        Kind.DECIMAL: cv.decimal_to_text,
        Kind.FLOAT: cv.single_to_text,
        Kind.DOUBLE: cv.float_to_text,
    }
    return _calling(env, helpers[kind]) if kind in helpers else None


# --- implicit conversions ---------------------------------------------------------------------------


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


def as_double(env: Environment, code: Code) -> Code:
    """A number as a DOUBLE."""
    result = cast(env, code, DOUBLE)
    assert result is not None, "every number can be a DOUBLE"
    return result
