"""Casts to and from dates, times, timestamps and intervals, as templates of source."""

from __future__ import annotations

from anomaly_app.expressions.typed import Environment
from anomaly_app.schema import TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind, units_per_second
from anomaly_app.times import texts
from anomaly_app.times.calendar import DAY_MS

INTERVALS = frozenset({Kind.INTERVAL_DAY, Kind.INTERVAL_YEAR})
TEMPORAL = TIMESTAMPS | INTERVALS | {Kind.DATE, Kind.TIME}


def per_day(type_: DataType) -> int:
    """Units of a day that a DATE, TIME or TIMESTAMP is held in."""
    if type_.kind in TIMESTAMPS:
        return 86_400 * units_per_second(type_)
    return 1 if type_.kind is Kind.DATE else DAY_MS


def from_text(env: Environment, target: DataType) -> str | None:
    """Template of a cast from text; None if there is none."""
    precision = target.precision or 0
    if target.kind in TIMESTAMPS:
        return f"{env.use(texts.text_to_timestamp)}({{}}, {precision})"
    if target.kind is Kind.DATE:
        return f"{env.use(texts.text_to_date)}({{}})"
    if target.kind is Kind.TIME:
        return f"{env.use(texts.text_to_time)}({{}}, {precision})"
    return None


def to_text(env: Environment, source: DataType) -> str:
    """Template of a cast to text."""
    precision = source.precision or 0
    if source.kind in TIMESTAMPS:
        return f"{env.use(texts.timestamp_to_text)}({{}}, {precision})"
    if source.kind is Kind.DATE:
        return f"{env.use(texts.date_to_text)}({{}})"
    if source.kind is Kind.TIME:
        return f"{env.use(texts.time_to_text)}({{}}, {precision})"
    return f"{env.use(texts.months_to_text if source.kind is Kind.INTERVAL_YEAR else texts.interval_to_text)}({{}})"


def conversion(env: Environment, source: DataType, target: DataType) -> str | None:
    """Template of a cast to a date, time, timestamp or interval; None if there is none."""
    if source.kind in TEXTS:
        return from_text(env, target)
    kind, given, wanted = target.kind, source.precision or 0, target.precision or 0
    if kind in INTERVALS:
        return "{}" if source.kind in WHOLE_NUMBERS else None
    if kind is Kind.DATE:
        return f"({{}} // {per_day(source)})" if source.kind in TIMESTAMPS else None
    if kind is Kind.TIME:
        if source.kind is not Kind.TIME and source.kind not in TIMESTAMPS:
            return None
        built = "{}"
        if source.kind in TIMESTAMPS:
            scale = units_per_second(source) // 1_000
            built = f"({{}}{f' // {scale}' if scale > 1 else ''} % {DAY_MS})"
        cut = wanted < 3 and not (source.kind is Kind.TIME and given <= wanted)
        return f"{env.use(texts.cut_time)}({built}, {wanted})" if cut else built
    factor = units_per_second(target) // 1_000
    if source.kind is Kind.DATE:
        return f"({{}} * {DAY_MS * factor})"
    if source.kind is Kind.TIME:
        return f"({{}} * {factor})" if factor > 1 else "{}"
    return _between(env, source, target) if source.kind in TIMESTAMPS else None


def _between(env: Environment, source: DataType, target: DataType) -> str:
    given, wanted = source.precision or 0, target.precision or 0
    here, there = units_per_second(source), units_per_second(target)
    if wanted >= given:
        return f"({{}} * {there // here})" if there > here else "{}"
    if wanted in (3, 6):
        return f"({{}} // {here // there})" if here > there else "{}"
    return f"{env.use(texts.cut_timestamp)}({{}}, {given}, {wanted})"
